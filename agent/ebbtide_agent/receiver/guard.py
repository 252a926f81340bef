"""The receiver's own guard: a tree that lost half of itself is no restore point, whatever its host says.

The agent has the same guards, before it pushes, and its operator's word for them. This one is for a host whose root is
somebody else: it compares what landed with the last complete night, and with the most that any of the last complete
nights held, or a bit less than half might go each night. Only the operator's policy switches it off, and with that
night the history begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter

from ebbtide_agent.manifest import ManifestSummary
from ebbtide_agent.receiver.brief import BriefedHost
from ebbtide_agent.receiver.history import Held
from ebbtide_agent.report import SUSPECT, Report, bounded

MOST_LOST_PERCENT = 50
# Two of three files, or a log that was rotated, are half of a small tree and no loss, and only the operator's policy
# could say so, a day later. A server has thousands of entries, and a dump that is worth a tree of its own is larger.
# When nothing is left that is a loss, however little it was.
FEWEST_LOST_ENTRIES, FEWEST_LOST_BYTES = 100, 10 << 20
_ONLY_THE_TOP = 1
# A few files may all change in a night; from here on it is a mass of them.
FEWEST_REWRITTEN = 1000


def guarded(report: Report, host: BriefedHost, landed: ManifestSummary, nights: tuple[Held, ...]) -> Report:
    """The report, suspect if what landed of it is a loss that nobody has said is meant, or if nobody can tell."""
    doubt = _find_doubt(landed, nights, host.name) if host.guarded else None
    return replace(report, status=SUSPECT, problems=bounded((doubt, *report.problems))) if doubt else report


def _find_doubt(landed: ManifestSummary, nights: tuple[Held, ...], host: str) -> str | None:
    way_out = f'guard = "off" for host {host} in the policy, for one night'
    if landed.before.damage:
        return (
            "the manifest of the last complete night cannot be read, so nobody knows what is gone since. The restore"
            " points before are kept. Find out what has damaged the receiver's volume; if the host's data is all"
            f" there: {way_out} ({landed.before.damage})"
        )
    loss = next(_losses(landed, nights), None)
    return loss and (
        f"{loss}, more than {MOST_LOST_PERCENT} %, as the receiver saw it. The restore points before are kept."
        f" If it is meant: {way_out}"
    )


def _losses(landed: ManifestSummary, nights: tuple[Held, ...]) -> Iterator[str]:
    before = landed.before
    least = 1 if landed.entries <= _ONLY_THE_TOP else FEWEST_LOST_ENTRIES
    counts = (("entries", attrgetter("entries"), least), ("bytes", attrgetter("size"), FEWEST_LOST_BYTES))
    for what, held, fewest in counts:
        now, then = held(landed), held(before)
        if _is_lost(then, now, fewest):
            yield f"of {then} {what} of the last complete night {now} are left"
        fullest = max(nights, key=held, default=before)
        if _is_lost(held(fullest), now, fewest):
            most = f"the most of {len(nights)} complete nights"
            yield f"of {held(fullest)} {what} of {fullest.run}, {most}, {now} are left"
    rewritten = before.files - before.kept
    if rewritten >= FEWEST_REWRITTEN and rewritten * 100 > before.files * MOST_LOST_PERCENT:
        yield f"of {before.files} files of the last complete night {rewritten} are gone or have another content"


def _is_lost(then: int, now: int, fewest: int) -> bool:
    return then - now >= fewest and now * 100 < then * (100 - MOST_LOST_PERCENT)
