"""A run as it was briefed, and where its reports lie, for who knows it by its id alone and looks back.

Their keys hold the run's nonce. Its brief tells that, and no machine can write one.
"""

from chalicelib import wire
from chalicelib.core.ids import own_host
from chalicelib.core.model import Run, RunId
from chalicelib.errors import PermanentError
from chalicelib.ports import Archive


def find_briefed_run(run_id: RunId, archive: Archive) -> Run | None:
    """By the first of its briefs that makes sense: they differ in the volume only. None of a run that never had one: it
    launched nothing.

    Raises PermanentError, which names them, when none makes sense.
    """
    faults = []
    for key in wire.briefs_among(archive.list(wire.run_prefix(run_id))):
        try:
            return _read_brief(key, run_id, archive)
        except PermanentError as fault:
            faults.append(f"{key}: {fault}")
    if faults:
        raise PermanentError("; ".join(faults))
    return None


def _read_brief(key: str, run_id: RunId, archive: Archive) -> Run:
    run = wire.parse_run_brief(archive.get(key))
    if run.id != run_id:
        raise PermanentError(f"its brief is that of run {run.id}")
    return run


def get_reported_tree(run_id: RunId, host_id: str, archive: Archive, known: Run | None = None) -> wire.ReportedTree:
    """What the report of a host says of its tree, whoever archived it; of a run that is `known` without its brief.

    Raises KeyError with what the archive lacks, and PermanentError, which names it, when what it has makes no sense.
    """
    key = wire.host_report_key(run_id) if own_host(run_id) else _report_key(run_id, host_id, archive, known)
    body = archive.get(key)
    try:
        return wire.parse_reported_tree(run_id, host_id, body)
    except PermanentError as fault:
        raise PermanentError(f"{key}: {fault}") from fault


def _report_key(run_id: RunId, host_id: str, archive: Archive, known: Run | None) -> str:
    # One that is rebuilt from the tags of a snapshot has no nonce, and neither has one of an earlier version.
    run = known if known and known.nonce else find_briefed_run(run_id, archive) or known
    if run is None:
        raise KeyError(f"{wire.run_prefix(run_id)}…/brief.json")
    return wire.report_key(run, host_id)
