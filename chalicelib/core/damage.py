"""A snapshot that was found damaged: nothing rests on it, and it stays for a while, for a person to look at."""

from datetime import UTC, datetime, time, timedelta

from chalicelib.core import tags
from chalicelib.core.ids import parse_run
from chalicelib.core.model import Snapshot
from chalicelib.errors import PermanentError

# As long as a volume that is set aside.
KEPT_DAMAGED = timedelta(days=30)


def find_look_until(snapshot: Snapshot) -> datetime | None:
    """Until when it stays for a person to look at, from the day of the run that found it damaged.

    None when it was not, and when a person has put another word than a run's there: who looks at it can hold it.
    """
    try:
        found = parse_run(snapshot.tags.get(tags.DAMAGED, ""))
        return datetime.combine(found.day, time(), UTC) + KEPT_DAMAGED
    except (PermanentError, OverflowError):
        return None


def word_for_copies(found: str) -> str:
    """What the tag of a copy says, of what that of its source does: a run's name, and of anything else nothing but that
    it comes from there, because another account may have written it."""
    try:
        return str(parse_run(found))
    except PermanentError:
        return "as its source"
