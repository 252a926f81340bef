"""What of a host's tree travels, as rsync filters: what the operator includes, less what nobody wants."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import REAL

EVERYTHING = "/"


class Origin(Enum):
    """Where a rule comes from."""

    EXCLUDE = "a line of backup_exclude"
    BUILT_IN = "what is never backed up of a whole system"
    PLACE = "a line of backup_include"
    WAY = "a directory that leads to such a place"
    REST = "what no line of backup_include asks for"


@dataclass(frozen=True)
class Rule:
    """One of rsync's filters: whether what matches travels, and whom it comes from.

    `line` is what the operator wrote, of a place or the way to it the whole place; else the pattern itself.
    """

    takes: bool
    pattern: str
    origin: Origin
    line: str

    def __str__(self) -> str:
        """As rsync takes it."""
        return f"{'+' if self.takes else '-'} {self.pattern}"


# Of what the agent keeps: as large as a big file, new every night, and of no use on another machine; and what would
# speak there, restored, of a run that came to its end.
OWN = ("index*", "contents/*", "scratch/*", "running*", "lock*")

# What is between two slashes is a name.
_NO_PATH = re.compile(r"//|(^|/)\.{1,2}(/|$)")
# A blank at the end that nobody sees, and what would be a comment elsewhere.
_BEHIND = re.compile(r"\s+(#\s.*)?$")
# rsync reads no line as a shell does.
_IN_QUOTES = re.compile(r"""^(["'])(.+)\1$""")
_FOR_A_SHELL = re.compile(r"\{[^{}/]*,[^{}/]*\}|^~/|^\$\{?HOME\b")

_REST = Rule(False, "*", Origin.REST, "*")

# rsync discards a longer one, and says so to nobody who would mind; of a place it is asked for `place/**` too.
LONGEST_PATTERN_BYTES = 4095
LONGEST_PLACE_BYTES = LONGEST_PATTERN_BYTES - len("/**")

# Of what a program can be given, the environment and all else that rsync is told; and what we can count on in any case,
# for some C libraries tell less than their kernel takes.
_FOR_THE_REST = 64 << 10
_LEAST_ARGUMENT_BYTES = 1 << 20
_BESIDE_EACH = len("\0") + 8

# Of a whole system. Only the contents: a restored server needs the directories themselves as mount points.
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
    *(f"{HostPaths.state}/{each}" for each in OWN),
)


# The receiver keeps what only root may set behind the name user.rsync.*; what a user has named so would come back as
# root's own, a capability for instance. rsync's -A carries the ACLs, which are system.* here.
NEVER_TRAVEL = ("user.rsync.*", "system.*")
ONLY_ROOTS = ("security.*", "trusted.*")
# What a store keeps ACLs in. No wildcard and no space: a far shell would get to see them.
_STORED_ACLS = ("user.rsync.%aacl", "user.rsync.%dacl")


def attribute_filters(as_root: bool, tree: str) -> list[str]:
    """rsync's arguments on extended attributes: which travel, and what the far side is to leave alone.

    Over there rsync would take a directory's ACL, which it has set by itself, for an attribute that is gone here, and
    remove it: a real tree's is for both sides, and a store's is told to the far side by name, for of filters a far side
    hears only where it deletes.
    """
    left_alone = [] if tree == REAL else [f"-M--filter=-x_{acl}" for acl in _STORED_ACLS]
    return [*attributes_that_travel(as_root, tree), *left_alone]


def attributes_that_travel(as_root: bool, tree: str) -> list[str]:
    """For the sender alone, so that what is gone here goes there; of a real tree for both sides."""
    names = NEVER_TRAVEL if as_root else (*NEVER_TRAVEL, *ONLY_ROOTS)
    return [f"--filter=-x{'rs' if tree == REAL else 's'} {name}" for name in names]


def hidden_by(place: str) -> str | None:
    """The built-in exclude that keeps a place, or a directory that leads to it, from travelling; None if none does."""
    path = PurePosixPath(place)
    leading = [str(each) for each in (path, *path.parents)]
    return next((rule for rule in BUILT_IN_EXCLUDES if any(fnmatchcase(each, rule) for each in leading)), None)


def find_doubt(exclude: str) -> str | None:
    """Why a pattern hardly excludes anything, and what to write instead; None if it may well."""
    if is_discarded(exclude):
        longest = f"rsync takes no pattern of more than {LONGEST_PATTERN_BYTES}"
        return f"excludes nothing: it is {len(os.fsencode(exclude))} bytes long, and {longest}"
    if _FOR_A_SHELL.search(exclude):
        return (
            "probably excludes nothing: rsync knows no {a,b}, ~ and $HOME; expected whole paths or patterns, one a line"
        )
    meant = _find_meant(exclude)
    if meant is None:
        return None
    return f"probably excludes nothing; {f'expected {meant!r:.80}' if meant else 'take the line out'}"


def is_discarded(exclude: str) -> bool:
    """Whether rsync passes over a pattern, however it may be meant."""
    return len(os.fsencode(exclude)) > LONGEST_PATTERN_BYTES


def _find_meant(exclude: str) -> str | None:
    """What was meant by a pattern as hardly any path is spelled, empty if it names nothing; None if it may match."""
    if exclude.startswith(";"):
        return f"#{exclude[1:]}"
    text = exclude.lstrip() if exclude.lstrip().startswith("/") else exclude
    text = _IN_QUOTES.sub(r"\2", _BEHIND.sub("", text))
    is_odd = text != exclude or text == EVERYTHING or _NO_PATH.search(text)
    if not is_odd or "[" in text or "\\" in text:
        return None
    names = os.path.normpath(f"/{text}").strip("/")
    first = "/" if text.startswith(("/", "./", "../")) else ""
    return f"{first}{names}{'/' if text.endswith('/') else ''}" if names else ""


def filters(include: Iterable[str], exclude: Iterable[str], whole_system: bool = True) -> list[str]:
    """rsync's arguments."""
    return [_argument(rule) for rule in rules(include, exclude, whole_system)]


def most_argument_bytes() -> int:
    """How much of rules rsync can be given: all its arguments have a quarter of its stack, 2 MiB on Linux."""
    return max(os.sysconf("SC_ARG_MAX") - _FOR_THE_REST, _LEAST_ARGUMENT_BYTES)


def argument_bytes(chosen: Iterable[Rule]) -> int:
    """How much rules take of what rsync can be given."""
    return sum(len(os.fsencode(_argument(rule))) + _BESIDE_EACH for rule in chosen)


def _argument(rule: Rule) -> str:
    return f"--filter={rule}"


def rules(include: Iterable[str], exclude: Iterable[str], whole_system: bool = True) -> list[Rule]:
    """The first match decides: excludes, then the places asked for, then nothing else.

    No place, or `/` among the places, is everything.
    """
    places = tuple(include)
    chosen = [Rule(False, pattern, Origin.EXCLUDE, pattern) for pattern in exclude]
    if whole_system:
        chosen += [Rule(False, pattern, Origin.BUILT_IN, pattern) for pattern in BUILT_IN_EXCLUDES]
    if places and EVERYTHING not in places:
        chosen += [rule for place in places for rule in (*_way(place), *_whole(place))]
        chosen.append(_REST)
    return chosen


def leading_to(place: str, include: Iterable[str], exclude: Iterable[str], whole_system: bool = True) -> list[Rule]:
    """By which as much travels as shows whether a place does: the place itself, as the first one that is taken."""
    # What `**` stands for may lie in what another place takes, and to a slash behind a backslash no way leads.
    needs_others = "**" in place or "\\/" in place
    rest = rules(include, (), whole_system=False) if needs_others else [*_way(place), _REST]
    return [*rules((), exclude, whole_system), _whole(place)[0], *rest]


def _whole(place: str) -> list[Rule]:
    pattern = "/*" if place == EVERYTHING else place.rstrip("/")
    return [Rule(True, each, Origin.PLACE, place) for each in (pattern, f"{pattern}/**")]


def _way(place: str) -> list[Rule]:
    """The directories above an anchored place: rsync never looks into a directory that is excluded itself."""
    if not place.startswith("/"):
        return []
    names = place.strip("/").split("/")[:-1]
    above = ("/" + "/".join(names[: depth + 1]) + "/" for depth in range(len(names)))
    return [Rule(True, pattern, Origin.WAY, place) for pattern in above]
