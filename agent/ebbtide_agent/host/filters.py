"""What of a host's tree travels, as rsync filters: what the operator includes, less what nobody wants."""

from __future__ import annotations

from collections.abc import Iterable

EVERYTHING = "/"

# Only the contents: a restored server needs the directories themselves as mount points.
BUILT_IN_EXCLUDES = (
    "/proc/*",
    "/sys/*",
    "/dev/*",
    "/run/*",
    "/tmp/*",
    "lost+found/*",
    "/swapfile",
    "/swap.img",
    "/swap/*",
    "/var/swap",
    "/var/cache/apt/archives/*.deb",
    "/var/cache/apt/archives/partial/*",
    "/var/cache/apt/*.bin",
    "/root/.cache/*",
    "/home/*/.cache/*",
)


def filters(include: Iterable[str], exclude: Iterable[str]) -> list[str]:
    """rsync's arguments. The first match decides: excludes, then the places asked for, then nothing else.

    No place, or `/` among the places, is everything.
    """
    places = tuple(include)
    rules = [f"- {pattern}" for pattern in (*exclude, *BUILT_IN_EXCLUDES)]
    if places and EVERYTHING not in places:
        rules += [f"+ {pattern}" for place in places for pattern in (*_parents(place), *_whole(place.rstrip("/")))]
        rules += ["- *"]
    return [f"--filter={rule}" for rule in rules]


def _whole(place: str) -> tuple[str, str]:
    return place, f"{place}/**"


def _parents(pattern: str) -> list[str]:
    """The directories above an anchored pattern: rsync never looks into a directory that is excluded itself."""
    if not pattern.startswith("/"):
        return []
    names = pattern.strip("/").split("/")[:-1]
    return ["/" + "/".join(names[: depth + 1]) + "/" for depth in range(len(names))]
