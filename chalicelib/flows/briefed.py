"""A run as it was briefed, and where its reports lie, for who knows it by its id alone and looks back.

Their keys hold the run's nonce. Its brief tells that, and no machine can write one.
"""

from chalicelib import wire
from chalicelib.core.ids import own_host
from chalicelib.core.model import Run, RunId
from chalicelib.errors import PermanentError
from chalicelib.ports import Archive


def find_briefed_run(run_id: RunId, archive: Archive) -> Run | None:
    """By any of its briefs: they differ in the volume only. None of a run that never had one: it launched nothing.

    Raises PermanentError when that makes no sense.
    """
    briefs = wire.briefs_among(archive.list(wire.run_prefix(run_id)))
    if not briefs:
        return None
    run = wire.parse_run_brief(archive.get(briefs[0]))
    if run.id != run_id:
        raise PermanentError(f"its brief is that of run {run.id}")
    return run


def get_reported_tree(run_id: RunId, host_id: str, archive: Archive) -> wire.ReportedTree:
    """What the report of a host says of its tree, whoever archived it.

    Raises KeyError with what the archive lacks, and PermanentError when what it has makes no sense.
    """
    key = wire.host_report_key(run_id) if own_host(run_id) else _report_key(run_id, host_id, archive)
    return wire.parse_reported_tree(run_id, host_id, archive.get(key))


def _report_key(run_id: RunId, host_id: str, archive: Archive) -> str:
    run = find_briefed_run(run_id, archive)
    if run is None:
        raise KeyError(f"{wire.run_prefix(run_id)}…/brief.json")
    return wire.report_key(run, host_id)
