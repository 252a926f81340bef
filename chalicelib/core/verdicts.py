"""The words a recovery ends with, or stands by."""

from datetime import datetime

from chalicelib.core.model import Recovery

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


def is_on_its_way_out(recovery: Recovery, now: datetime) -> bool:
    """One that has failed, whose time is over, or that is gone: nobody's any more."""
    return recovery.state.is_final or recovery.verdict == FAILED or now >= recovery.deadline
