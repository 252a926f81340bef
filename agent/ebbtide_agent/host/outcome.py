"""What rsync did, told truly: its counts, its exit code, and the paths that it could not read."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ebbtide_agent.errors import REFUSAL, Refused, TransientError
from ebbtide_agent.host.named import Named, unescaped
from ebbtide_agent.host.progress import parse
from ebbtide_agent.host.volatile import comes_and_goes
from ebbtide_agent.procs import KEEP_BYTES, Ended
from ebbtide_agent.report import COMPLETE, FAILED, PARTIAL, STATUSES, WITH_WARNINGS, worst

# Some of it could not be read, or is not there; and it was there when it was listed.
SOME_IS_MISSING, VANISHED = 23, 24
NO_ADDRESS = TransientError.exit_code
# Both sides were at their end and did not agree on it (EX_PROTOCOL in sysexits.h); rsync ends as with a version that
# it does not understand.
OUT_OF_STEP, _INCOMPATIBLE = 76, 2
# What a gate ends with that is told to stop, as by a receiver which lets go before its time: another one may come.
_GATE_ENDED = 128 + signal.SIGTERM
SILENCE = 30
# A connection that did not come about or broke: turned away, socket, protocol stream, timeouts, ssh's own failure.
WORTH_ANOTHER_TRY = (NO_ADDRESS, 5, 10, 12, SILENCE, 35, _GATE_ENDED, 255)
# Nobody knew where, or turned away at the door: nothing was begun that could have been left half done. A socket that
# fails (10) is not among them: so rsync ends, too, when ssh goes while it writes.
NEVER_CAME_ABOUT = (NO_ADDRESS, 5)
# Usage, incompatible versions, selecting files, unsupported, refused by the far side or by its gate: nothing has moved.
NOTHING_MOVED = (1, 2, 3, 4, 5, 6, Refused.exit_code, 126, 127)
_OF_A_GATE = f"ebbtide: {REFUSAL}"

_SUMMARY = ("rsync error:", "rsync warning:")
# That it ends, and that its connection did: why that is so was said before.
_AT_THE_END = (*_SUMMARY, "rsync: connection unexpectedly closed")
_OF_VANISHED = " has vanished: "
_VANISHED = re.compile(rf'(?:file|directory){_OF_VANISHED}"(?P<path>.*)"(?: \(in .*\))?$')
# So rsync says it of a path that it was given in a list, and then ends as if it could not read it.
_NOT_THERE = re.compile(
    rb'^rsync: \[sender\] link_stat "(.*)" failed: (?:No such file or directory|Not a directory) \([0-9]+\)$',
    re.MULTILINE,
)
_ASIDE = "WARNING: "
# What the sender says of a request that comes after the last one.
_TOO_LATE = ("Invalid packet at end of run", "got transfer request in phase 2")
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
    """A push as the host saw it.

    `vanished` are the paths, as seen from ROOT, that rsync knew of and did not find any more; none where it was more
    than that, or not all of them are known. `named` is what the last rsync that looked at everything came by; None if
    none did.
    """

    status: str
    exit_code: int
    counts: Counts
    problems: tuple[str, ...]
    vanished: tuple[bytes, ...] = ()
    named: Named | None = None

    @property
    def is_whole(self) -> bool:
        return self.status in (COMPLETE, WITH_WARNINGS)

    @property
    def lacks_what_vanished(self) -> bool:
        """Whether the tree is as good as it can be but for what vanished, which may be there under another name."""
        return self.status == PARTIAL and bool(self.vanished)


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


def as_out_of_step(ended: Ended) -> Ended:
    """With an exit code of its own where rsync was asked for more after its end.

    The receiving rsync (3.5.0) asks for another name of a hard link when one has vanished; from a list, whose end it
    has told by then, three of them are one too many.
    """
    is_late = ended.exit_code == _INCOMPATIBLE and any(line.startswith(_TOO_LATE) for line in _said(ended))
    return replace(ended, exit_code=OUT_OF_STEP) if is_late else ended


def as_vanished(ended: Ended) -> Ended:
    """As rsync tells what vanished, if some of its list was not there any more, and nothing else was wrong.

    Where a file vanished from under it as well, rsync itself ends with 24.
    """
    # Of so many lines only the last are known.
    if ended.exit_code not in (SOME_IS_MISSING, VANISHED) or len(ended.err) >= KEEP_BYTES:
        return ended
    told = replace(ended, exit_code=VANISHED, err=_NOT_THERE.sub(rb'file has vanished: "\1"', ended.err))
    lines = [line for line in _said(told) if line.strip() and not line.startswith((*_SUMMARY, _ASIDE))]
    is_nothing_else = bool(lines) and all(map(_VANISHED.search, lines))
    return told if ended.exit_code == VANISHED or is_nothing_else else ended


def tell(ended: Ended, root: str = "/") -> Outcome:
    """The outcome of one rsync. `root` is the tree's root as rsync was given it."""
    said = _said(ended)
    counts = parse_counts(ended.out.decode("utf-8", "replace"))
    if ended.exit_code == 0:
        return Outcome(COMPLETE, 0, counts, ())
    problems = tuple(line for line in said if line.strip() and not _is_summary(line))
    if not problems:
        problems = (f"rsync ended with exit code {ended.exit_code}",)
    vanished = _vanished(ended, said, root)
    return Outcome(_status(ended, vanished), ended.exit_code, counts, problems, vanished)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several rsyncs, one after the other: the worst of them, with the problems of all.

    The counts are of the one that looked at most, but for what was sent.
    """
    gravest = max(outcomes, key=lambda outcome: STATUSES.index(outcome.status))
    lacking = [outcome for outcome in outcomes if outcome.status != COMPLETE]
    is_all_known = all(outcome.vanished for outcome in lacking)
    vanished = tuple(path for outcome in lacking for path in outcome.vanished) if is_all_known else ()
    # Nothing moved in the one that failed; before it something did.
    status = PARTIAL if gravest.status == FAILED and len(outcomes) > 1 else gravest.status
    seen = max((outcome.counts for outcome in outcomes), key=lambda counts: counts.entries)
    counts = replace(seen, bytes_sent=sum(outcome.counts.bytes_sent for outcome in outcomes))
    problems = tuple(each for outcome in outcomes for each in outcome.problems)
    named = next((outcome.named for outcome in reversed(outcomes) if outcome.named), None)
    return Outcome(status, gravest.exit_code, counts, problems, vanished, named)


def mended(earlier: Outcome, last: Outcome) -> Outcome:
    """The outcome of a push, and of one that sent what was found to be missing from it."""
    both = together((last, earlier))
    counts = replace(last.counts, bytes_sent=both.counts.bytes_sent)
    both = replace(both, counts=counts, vanished=last.vanished, named=last.named)
    if not earlier.lacks_what_vanished or not last.is_whole:
        return both
    count = len(set(earlier.vanished))
    said = (
        f"{count} path{'' if count == 1 else 's'} vanished while the tree was pushed, so it was scanned and pushed once"
        " more: what was renamed is there, and what was deleted is not"
    )
    return replace(both, status=WITH_WARNINGS, exit_code=VANISHED, problems=(said, *both.problems), vanished=())


def _said(ended: Ended) -> Sequence[str]:
    return ended.err.decode("utf-8", "backslashreplace").splitlines()


def _status(ended: Ended, vanished: Sequence[bytes]) -> str:
    if ended.exit_code == VANISHED:
        is_everyday = all(comes_and_goes(f"/{os.fsdecode(path)}") for path in vanished)
        return WITH_WARNINGS if vanished and is_everyday else PARTIAL
    return FAILED if ended.exit_code in NOTHING_MOVED else PARTIAL


def _vanished(ended: Ended, said: Sequence[str], root: str) -> tuple[bytes, ...]:
    """The paths that vanished, as seen from the root; none if one of them is not known."""
    # Of so many lines only the last are known.
    if ended.exit_code != VANISHED or len(ended.err) >= KEEP_BYTES:
        return ()
    above = os.fsencode(f"{root.rstrip('/')}/")
    found = [_VANISHED.search(line) for line in said if _OF_VANISHED in line]
    named = [unescaped(match["path"].encode()) for match in found if match]
    paths = tuple(path[len(above) :] for path in named if path.startswith(above))
    return paths if all(paths) and len(paths) == len(found) else ()


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
