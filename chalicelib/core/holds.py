"""A hold: the word of a person that a snapshot stays, with the reason, kept in the snapshot's own tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.core import tags

# EC2's limit for the value of a tag: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
LONGEST = 256


@dataclass(frozen=True)
class Target:
    """A snapshot by its id, or the one that holds a host's point: of `at` or before, otherwise the newest."""

    snapshot_id: str | None = None
    host: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Hold:
    """Why a snapshot is held, by whom and since when. One that was put on by hand may say no more than why."""

    why: str
    by: str | None = None
    since: str | None = None

    def __str__(self) -> str:
        by, since = (f" by {self.by}" if self.by else ""), (f" since {self.since}" if self.since else "")
        return f"held{by}{since}: {self.why}"


def find_hold(tagged: Mapping[str, str]) -> Hold | None:
    """The hold that these tags tell of."""
    why = tagged.get(tags.HOLD)
    if not why:
        return None
    return Hold(why, tagged.get(tags.HOLD_BY) or None, tagged.get(tags.HOLD_SINCE) or None)


def hold_faults(why: str, by: str) -> tuple[str, ...]:
    """What a tag cannot keep, or nobody could read later."""
    return tuple(
        f"{name} is {text[:80]!r}, expected 1 to {LONGEST} printable characters"
        for name, text in (("reason", why), ("by", by))
        if not (0 < len(text) <= LONGEST and text.isprintable() and text.strip())
    )


def hold_tags(why: str, by: str, now: datetime) -> dict[str, str]:
    """The tags that put a hold on."""
    return {tags.HOLD: why, tags.HOLD_BY: by, tags.HOLD_SINCE: f"{now:%Y-%m-%dT%H:%M:%SZ}"}


def release_tags() -> dict[str, str]:
    """The tags that take a hold off: an empty one is none."""
    return dict.fromkeys((tags.HOLD, tags.HOLD_BY, tags.HOLD_SINCE), "")
