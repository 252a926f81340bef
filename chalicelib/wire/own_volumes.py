"""A host with a volume of its own: what it reports itself, where that lies, and how its run is remembered."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core.ids import HOST_ID, own_host, own_run, own_word, parse_run, reported_at
from chalicelib.core.model import HostResult, Run, RunId, TreeKind
from chalicelib.core.volume_night import OwnReport
from chalicelib.errors import PermanentError
from chalicelib.fields import Fields, moment_text, read, written
from chalicelib.wire.runs import host_result

# The date before the host: what is new of all hosts is in one listing. A role may write below its own host's id only,
# and the pattern that says so lets slashes through, so a key counts only if it has exactly this shape.
HOST_REPORTS = "host-reports/"
_KEY = re.compile(rf"{HOST_REPORTS}(?P<day>[0-9-]+)/(?P<host>{HOST_ID.pattern})/(?P<attempt>[0-9]+)\.json")

_SOURCE = re.compile(rf"ebbtide\.host\.(?P<host>{HOST_ID.pattern})")

_VOLUME = re.compile(r"vol-[A-Za-z0-9-]{1,60}")

# For how long a host may promise to leave its volume alone: a snapshot needs its time to be asked for, perhaps twice,
# and the next night is to come.
SHORTEST_PROMISE = timedelta(hours=1)
LONGEST_PROMISE = timedelta(days=1)


def host_report_key(run: RunId) -> str:
    """Where the report of an own run lies."""
    return f"{HOST_REPORTS}{run.day.isoformat()}/{own_host(run)}/{run.attempt}.json"


def run_of_host_report_key(key: str) -> RunId:
    """The run that the report of this key opens. Raises PermanentError."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise PermanentError(
            f"{key!r} is no key of a host's report: expected one like host-reports/2026-11-23/web1/1.json"
        )
    run = parse_run(f"{own_word(match['host'])}/{match['day']}/{match['attempt']}")
    reported_at(run)
    return run


def host_reports_before(at: datetime) -> str:
    """What sorts before every key of a report of this day or later."""
    return f"{HOST_REPORTS}{at.date().isoformat()}"


def host_of_source(source: str) -> str | None:
    """The id of the host whose own event this is, as IAM has bound it; None for anyone else's."""
    match = _SOURCE.fullmatch(source)
    return match["host"] if match else None


@dataclass(frozen=True)
class HostReport:
    """A host's night as it archived it itself, and until when it leaves its volume alone."""

    result: HostResult
    own: OwnReport
    quiet_until: datetime


def parse_host_report(run: RunId, body: bytes) -> HostReport:
    """The report of this run, which is not believed to be another's. Raises PermanentError."""
    fields = read("host's report", body)
    volume = fields.part("volume")
    result = host_result(fields, volume.choice("tree", TreeKind), volume.maybe_part("manifest"))
    finished, quiet_until = fields.moment("finished"), volume.moment("quiet_until")
    if (result.run, own_run(result.id, finished)) != (run, run):
        raise PermanentError(f"{fields.what}: it speaks of host {result.id} in run {result.run}, done at {finished}")
    if result.manifest is not None and not result.manifest.startswith(f"manifests/{result.id}/"):
        raise PermanentError(
            f"{fields.what}: manifest is {result.manifest[:80]!r}, expected one below manifests/{result.id}/"
        )
    if not SHORTEST_PROMISE <= quiet_until - finished <= LONGEST_PROMISE:
        raise PermanentError(
            f"{fields.what}: quiet_until is {quiet_until}, expected one hour to one day after {finished}"
        )
    own = OwnReport(_volume_id(volume), result.tree, volume.flag("unmounted"))
    return HostReport(result, own, quiet_until)


def _volume_id(fields: Fields) -> str:
    """It is told when it is not the volume that is tagged as this host's, so it is not just any text."""
    volume_id = fields.text("id")
    if not _VOLUME.fullmatch(volume_id):
        raise PermanentError(f"{fields.what}: id is {volume_id[:80]!r}, expected one like vol-0123456789abcdef0")
    return volume_id


def own_brief_key(run: RunId) -> str:
    return f"runs/{run}/brief.json"


def own_brief(run: Run) -> bytes:
    """Nobody is told this: it is what `rebuild` needs to know of the run."""
    return written(
        {
            "run": str(run.id),
            "policy": run.policy_version,
            "opened": moment_text(run.opened),
            "deadline": moment_text(run.deadline),
            "hosts": [{"name": host.name, "id": host.id, "nonce": host.nonce} for host in run.hosts],
        }
    )
