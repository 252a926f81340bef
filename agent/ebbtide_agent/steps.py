"""What install, uninstall and peer do to a machine, one step each: as text it is what a dry run shows."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Protocol

from ebbtide_agent import keys, procs
from ebbtide_agent.files import write_whole


@dataclass(frozen=True)
class MakeDirectory:
    """A directory that only its owner may look into, if nothing else is said."""

    path: Path
    mode: int = 0o700

    def __str__(self) -> str:
        return f"make the directory {self.path}"

    def take(self) -> None:
        self.path.mkdir(mode=self.mode, parents=True, exist_ok=True)


@dataclass(frozen=True)
class MakeKey:
    """An ssh key; it may be the one that is to follow another."""

    path: Path
    comment: str

    def __str__(self) -> str:
        return f"make the key {self.path}"

    def take(self) -> None:
        keys.make(self.path, self.comment)


@dataclass(frozen=True)
class WriteFile:
    """A file written whole. `why` is there when something else stood in it."""

    path: Path
    body: str
    mode: int = 0o644
    why: str = ""

    def __str__(self) -> str:
        return f"write {self.path}{f' ({self.why})' if self.why else ''}"

    def take(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, to_bytes(self.body), self.mode)


@dataclass(frozen=True)
class Remove:
    """A file, or a directory of the agent's own with all that is in it; what is mounted below stays."""

    path: Path
    why: str = ""

    def __str__(self) -> str:
        return f"remove {self.path}{f' ({self.why})' if self.why else ''}"

    def take(self) -> None:
        procs.check(("rm", "-rf", "--one-file-system", "--", str(self.path)))


@dataclass(frozen=True)
class RemoveIfEmpty:
    """A directory that others may have put something into."""

    path: Path

    def __str__(self) -> str:
        return f"remove the directory {self.path}, if nothing else is in it"

    def take(self) -> None:
        with contextlib.suppress(OSError):
            self.path.rmdir()


@dataclass(frozen=True)
class Run:
    """A program that must succeed."""

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.argv)

    def take(self) -> None:
        procs.check(self.argv)


class Step(Protocol):
    """One of these, or a room's own: told as text, then taken."""

    def take(self) -> None: ...


def directories(*places: Path) -> Iterator[Step]:
    """The steps that make those which are missing."""
    return (MakeDirectory(place) for place in dict.fromkeys(places) if not place.is_dir())


def file(path: Path, body: str, mode: int = 0o644) -> Iterator[Step]:
    """The step that makes a file say this; none if it does."""
    try:
        stands = path.read_bytes()
    except FileNotFoundError:
        yield WriteFile(path, body, mode)
        return
    if stands != to_bytes(body):
        yield WriteFile(path, body, mode, "what is there differs")


def removals(paths: Iterable[Path], why: str = "") -> Iterator[Step]:
    """The steps that remove what is there of these."""
    return (Remove(path, why) for path in paths if path.exists() or path.is_symlink())


def to_bytes(text: str) -> bytes:
    """As it was read: a file of the operator's may hold bytes that are no text."""
    return text.encode("utf-8", "surrogateescape")


def walk(steps: Sequence[Step], say: Callable[[str], None], dry_run: bool) -> None:
    """Take one step after the other, each told first; in a dry run they are told and not taken."""
    for step in steps:
        say(f"would {step}" if dry_run else str(step))
        if not dry_run:
            step.take()
