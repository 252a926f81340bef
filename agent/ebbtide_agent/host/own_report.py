"""The report of a host with a volume of its own, as the archive keeps it: its run, its key, its event. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ebbtide_agent import moments
from ebbtide_agent.report import ArchivedManifest, Report
from ebbtide_agent.shapes import decode, encode, field

EVENT = "Ebbtide Host Report"
# A snapshot is asked for within the promise; a night without anything to snapshot promises the least that counts.
QUIET = timedelta(hours=12)
QUIET_AFTER_NOTHING = timedelta(hours=1)


@dataclass(frozen=True)
class OwnVolume:
    """Which volume it was, whether it was let go of, and until when this host leaves it alone."""

    id: str
    tree: str
    unmounted: bool
    quiet_until: datetime
    manifest: ArchivedManifest | None


def own_run(host_id: str, finished: datetime) -> str:
    """The run that a report opens: the host, the day (UTC) on which it was done, and the second of that day, from 1."""
    at = finished.astimezone(timezone.utc)
    second = at.hour * 3600 + at.minute * 60 + at.second
    return f"host.{host_id}/{at:%Y-%m-%d}/{second + 1}"


def encode_own_report(report: Report, volume: OwnVolume) -> bytes:
    """A report without a receiver's part: nobody gave out a nonce, and what the volume holds is said instead."""
    said = {name: value for name, value in asdict(report).items() if name not in ("nonce", "receiver")}
    times = {"started": moments.write(report.started), "finished": moments.write(report.finished)}
    about = {**asdict(volume), "quiet_until": moments.write(volume.quiet_until)}
    return encode({**said, **times, "volume": about})


@dataclass(frozen=True)
class Letter:
    """What the archive and the bus are told of a report: under which keys, by whom, and what."""

    report_key: str
    manifest_key: str | None
    source: str
    detail: Mapping[str, Any]


def letter_of(body: bytes) -> Letter:
    """Read back from what was kept. Raises PermanentError when it is no such report."""
    what = "the report in the outbox"
    values = decode(what, body)
    detail = {name: field(what, values, name, str) for name in ("run", "host", "id", "status")}
    manifest = field(what, values, "volume", dict).get("manifest")
    _, day, second = detail["run"].split("/")
    return Letter(
        report_key=f"host-reports/{day}/{detail['id']}/{second}.json",
        manifest_key=manifest["key"] if manifest else None,
        source=f"ebbtide.host.{detail['id']}",
        detail=detail,
    )
