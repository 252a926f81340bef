"""The words a recovery ends with, or stands by."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from chalicelib.core.model import Recovery, RestorePoint
from chalicelib.core.trouble import said

# A drill or restore: booted and answered; identical; identical as far as could be told without root; and not.
PROVEN = "proven"
CONTENT_ONLY = "content only"
AS_RECORDED = "as recorded"
UNPROVEN = "unproven"
DIFFERENT = "different"
FAILED = "failed"
VERDICTS = (PROVEN, CONTENT_ONLY, AS_RECORDED, UNPROVEN, DIFFERENT, FAILED)

# An opening: its machine serves, or has served. It proves nothing.
OPENED = "opened"

# What the finding begins with that fails a drill whatever else it finds.
_STALE = "stale: "
# And of a restore whose server may be back: its machine has said something of that which cannot be read.
_UNHEARD = "unheard: "
# And of one whose image is not up, in the words of its machine.
_DOWN = "did not boot: "


def is_all_there_is_to_prove(verdict: str | None, probe: str | None) -> bool:
    """Without a question to ask, that is identical content; without root, what was recorded."""
    return verdict in (PROVEN, AS_RECORDED) or (verdict == CONTENT_ONLY and probe is None)


def satisfies(verdict: str | None, probe: str | None, findings: Iterable[str]) -> bool:
    """Whether a drill does. What nobody has backed up for days satisfies nobody, however well it comes back."""
    return is_all_there_is_to_prove(verdict, probe) and not is_stale(findings)


def why_stale(newest: RestorePoint, stale_after: timedelta, now: datetime) -> tuple[str, ...]:
    """A finding, when the newest point there is to drill is older than it may be."""
    if now - newest.at <= stale_after:
        return ()
    return (
        f"{_STALE}its newest restore point is of {said(newest.at)}, expected one of the last {stale_after.days} days",
    )


def is_stale(findings: Iterable[str]) -> bool:
    """Whether these are those of a drill of too old a point."""
    return any(finding.startswith(_STALE) for finding in findings)


def why_unheard(why: str, address: str | None) -> str:
    """The finding: where it may be found, and that nobody but a person will say whether it is."""
    where = f" at {address}" if address else ""
    return f"{_UNHEARD}{why}; its server may be back{where}: look, and close it if it is not"


def is_unheard(findings: Iterable[str]) -> bool:
    """Whether these are those of a restore whose server may be back."""
    return any(finding.startswith(_UNHEARD) for finding in findings)


def why_down(why: str | None) -> str:
    """The finding, with what its image said."""
    return f"{_DOWN}{why}"


def is_down(findings: Iterable[str]) -> bool:
    """Whether these are those of a restore whose server has not come up."""
    return any(finding.startswith(_DOWN) for finding in findings)


def is_on_its_way_out(recovery: Recovery, now: datetime) -> bool:
    """One that has failed, whose time is over, or that is gone: nobody's any more."""
    return recovery.state.is_final or recovery.verdict == FAILED or now >= recovery.deadline
