"""What rsync did, told truly: its counts, its exit code, and the paths that it could not read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ebbtide_agent.errors import REFUSAL, Refused
from ebbtide_agent.host.progress import parse
from ebbtide_agent.host.volatile import comes_and_goes
from ebbtide_agent.procs import KEEP_BYTES, Ended
from ebbtide_agent.report import COMPLETE, FAILED, PARTIAL, STATUSES, WITH_WARNINGS, worst

# Some of it could not be read, or is not there; and it was there when it was listed.
SOME_IS_MISSING, VANISHED = 23, 24
NO_CONNECTION = 10
# A connection that did not come about or broke: turned away, socket, protocol stream, timeouts, ssh's own failure.
WORTH_ANOTHER_TRY = (5, NO_CONNECTION, 12, 30, 35, 255)
# Turned away at the door: nothing was begun that could have been left half done. A socket that fails (10) is not among
# them: so rsync ends, too, when ssh goes while it writes.
NEVER_CAME_ABOUT = (5,)
# Usage, incompatible versions, selecting files, unsupported, refused by the far side or by its gate: nothing has moved.
NOTHING_MOVED = (1, 2, 3, 4, 5, 6, Refused.exit_code, 126, 127)
_OF_A_GATE = f"ebbtide: {REFUSAL}"

_SUMMARY = ("rsync error:", "rsync warning:")
# That it ends, and that its connection did: why that is so was said before.
_AT_THE_END = (*_SUMMARY, "rsync: connection unexpectedly closed")
_OF_VANISHED = " has vanished: "
_VANISHED = re.compile(rf'(?:file|directory){_OF_VANISHED}"(?P<path>.*)"(?: \(in .*\))?$')
_COUNT = re.compile(r"(?P<what>[A-Z][A-Za-z ]+): (?P<total>[0-9,]+)(?: bytes)?(?: \((?P<kinds>.*)\))?$")


@dataclass(frozen=True)
class Counts:
    """rsync's --stats: regular files, all entries, and bytes."""

    files: int = 0
    entries: int = 0
    bytes_total: int = 0
    bytes_sent: int = 0


@dataclass(frozen=True)
class Outcome:
    """A push as the host saw it."""

    status: str
    exit_code: int
    counts: Counts
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Remark:
    """Something that rsync knows nothing of: how good it lets the night be at best, and what it is."""

    status: str
    problem: str


def in_view_of(remarks: Sequence[Remark], outcome: Outcome) -> Outcome:
    """The outcome with what is to be remarked on before its own problems, which may be many.

    What comes first is what people are told: a problem of the gravest kind.
    """
    in_order = sorted(remarks, key=lambda remark: STATUSES.index(remark.status), reverse=True)
    status = worst(outcome.status, *(remark.status for remark in in_order))
    leading = 0 if in_order and in_order[0].status == status else 1
    said = tuple(remark.problem for remark in in_order)
    return replace(outcome, status=status, problems=(*outcome.problems[:leading], *said, *outcome.problems[leading:]))


def as_refused(ended: Ended) -> Ended:
    """With the exit code of a gate that has said no: by rsync's own it could be a connection that broke."""
    said = ended.err.decode("utf-8", "replace").splitlines()
    is_refused = ended.exit_code in WORTH_ANOTHER_TRY and any(line.startswith(_OF_A_GATE) for line in said)
    return replace(ended, exit_code=Refused.exit_code) if is_refused else ended


def tell(ended: Ended, root: str = "/") -> Outcome:
    """The outcome of one rsync. `root` is the tree's root as rsync was given it."""
    said = ended.err.decode("utf-8", "backslashreplace").splitlines()
    counts = parse_counts(ended.out.decode("utf-8", "replace"))
    if ended.exit_code == 0:
        return Outcome(COMPLETE, 0, counts, ())
    problems = tuple(line for line in said if line.strip() and not _is_summary(line))
    if not problems:
        problems = (f"rsync ended with exit code {ended.exit_code}",)
    return Outcome(_status(ended, said, root), ended.exit_code, counts, problems)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several rsyncs, one after the other: the worst of them, with the problems of all.

    The counts are of the one that looked at most, but for what was sent.
    """
    gravest = max(outcomes, key=lambda outcome: STATUSES.index(outcome.status))
    # Nothing moved in the one that failed; before it something did.
    status = PARTIAL if gravest.status == FAILED and len(outcomes) > 1 else gravest.status
    seen = max((outcome.counts for outcome in outcomes), key=lambda counts: counts.entries)
    counts = replace(seen, bytes_sent=sum(outcome.counts.bytes_sent for outcome in outcomes))
    return Outcome(status, gravest.exit_code, counts, tuple(each for outcome in outcomes for each in outcome.problems))


def _status(ended: Ended, said: Sequence[str], root: str) -> str:
    if ended.exit_code == VANISHED:
        vanished = [line for line in said if _OF_VANISHED in line]
        # Of so many lines only the last are known.
        is_all_known = bool(vanished) and len(ended.err) < KEEP_BYTES
        return WITH_WARNINGS if is_all_known and all(_is_everyday(line, root) for line in vanished) else PARTIAL
    return FAILED if ended.exit_code in NOTHING_MOVED else PARTIAL


def _is_everyday(line: str, root: str) -> bool:
    vanished = _VANISHED.search(line)
    above = root.rstrip("/")
    if vanished is None or not vanished["path"].startswith(f"{above}/"):
        return False
    return comes_and_goes(vanished["path"][len(above) :])


def _is_summary(line: str) -> bool:
    return line.startswith(_SUMMARY)


def why(ended: Ended) -> str:
    """Why an rsync failed, for a message: the last that it, or its ssh, has said before it said that it ends."""
    said = ended.err.decode("utf-8", "replace").splitlines()
    reasons = [line.strip() for line in said if line.strip() and not line.startswith(_AT_THE_END)]
    return reasons[-1] if reasons else ended.why


def parse_counts(out: str) -> Counts:
    """Read --stats. What was cut off before its statistics counts no more than what its progress says was sent."""
    found = {match["what"]: match for match in map(_COUNT.match, map(str.strip, out.splitlines())) if match}

    def total(what: str) -> int:
        return _number(found[what]["total"]) if what in found else 0

    if not found:
        return Counts(bytes_sent=_last_progress(out))
    return Counts(
        files=_regular(found["Number of files"]["kinds"]) if "Number of files" in found else 0,
        entries=total("Number of files"),
        bytes_total=total("Total file size"),
        bytes_sent=total("Total bytes sent"),
    )


def _last_progress(out: str) -> int:
    """Contents, without what the protocol adds to them."""
    seen = [progress for progress in map(parse, re.split(rb"[\r\n]", out.encode())) if progress]
    return seen[-1].bytes if seen else 0


def _regular(kinds: str | None) -> int:
    match = re.search(r"reg: ([0-9,]+)", kinds or "")
    return _number(match[1]) if match else 0


def _number(text: str) -> int:
    return int(text.replace(",", ""))
