"""Whose a volume is: what the mark at its top says, looked at before anything may write onto it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent import procs, volume
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.files import is_blank, write_whole
from ebbtide_agent.shapes import SCHEMA, encode

LARGEST_MARK = 4096
_MARKS = ("receiver.json", "ebbtide.json")
# What was cut off is not gone on with: that would be written, read-only or not.
_AS_IT_LIES = {volume.EXT4: "ro,noload", volume.BTRFS: "ro,rescue=nologreplay", "xfs": "ro,norecovery"}
# Whatever lies there by now: no link is followed, and nothing waits for a pipe's other end.
_NO_OTHER_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class Claim:
    """A volume that is to be ours: the mark that says so in `field`, and where on it our trees are."""

    volume_id: str
    mark: Path
    field: str
    owner: str
    trees: Path

    def is_marked(self) -> bool:
        """False when the volume is as it was made. Raises Refused when it is another's or a later version's, Damaged
        when it has lost whose it is, and OSError when not even that can be told."""
        found, name = _find_mark(self.mark, self.field), self.mark.name
        if found and found.owner not in (None, self.owner):
            raise Refused(f"volume {self.volume_id} belongs to {self.field} {found.owner!r}, this is {self.owner}")
        if found and found.schema > SCHEMA:
            raise Refused(
                f"volume {self.volume_id} was last used by a later version: its {name} is of schema {found.schema},"
                f" and this version knows {SCHEMA}: use a later one"
            )
        if found and found.fault:
            raise volume.Damaged(f"volume {self.volume_id}: its {name} needs a person: {found.fault}")
        if not found and self._has_lost_its_mark():
            raise volume.Damaged(
                f"volume {self.volume_id}: {self.trees.name} is there, but no {name}: it needs a person"
            )
        if not found and not is_blank(self.mark.parent, self.mark):
            raise Refused(f"volume {self.volume_id} holds files and no {name}: it is not a {self.field}'s")
        return found is not None

    def put_mark(self) -> None:
        write_whole(self.mark, encode({self.field: self.owner}))

    def _has_lost_its_mark(self) -> bool:
        """By all else it is ours; others have trees at that place as well, and say whose they are."""
        return self.trees.is_dir() and not any((self.mark.parent / name).exists() for name in _MARKS)


@dataclass(frozen=True)
class _Mark:
    """Whom it names, None where nobody can make that out; why nobody can go by it, "" if one can; and its schema."""

    owner: str | None
    fault: str = ""
    schema: int = SCHEMA


def _find_mark(path: Path, field: str) -> _Mark | None:
    """None where there is none. Garbage is one that names nobody. Raises OSError where it cannot be told.

    What the disk does not give is no garbage yet: it may the next time, and a check of the file system knows more.
    """
    try:
        values = json.loads(_content(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in volume.UNREADABLE or path not in path.parent.iterdir():
            raise
        return _Mark(None, f"it cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return _Mark(None, f"it cannot be read: {error}")
    named, schema = (values.get(field), values.get("schema")) if isinstance(values, dict) else (None, None)
    owner = named if isinstance(named, str) else None
    if isinstance(schema, int) and schema > SCHEMA:
        # In which words it names somebody is for the version to know that has written it.
        return _Mark(owner, schema=schema)
    if owner is None:
        return _Mark(None, f"it names no {field}")
    return _Mark(owner, "" if schema == SCHEMA else f"it is not of schema {SCHEMA}")


def _content(path: Path) -> bytes:
    """Raises OSError, also for what is no file, and ValueError for one that is larger than a mark."""
    descriptor = os.open(path, _NO_OTHER_FILE)
    try:
        content = os.read(descriptor, LARGEST_MARK + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_MARK:
        raise ValueError(f"it has more than {LARGEST_MARK} bytes")
    return content


def look_first(device: Path, place: Path, filesystem: str, claim: Claim) -> None:
    """Have another's volume refused by how it lies there: no byte of it changes. `place` is where it is looked at.

    What it takes to know our own may come back with a check of its file system, so Damaged it is not called yet. But
    where nothing can be seen nobody knows whose it is, and such a check would write: raises Damaged, or PermanentError
    if it is not what is on the device that keeps it from being seen.
    """
    if volume.is_held(device):
        raise PermanentError(f"{device} is mounted already")
    with _only_read(device):
        if why := _find_why_unseen(device, place, filesystem, claim):
            volume.check_unwritten(device, filesystem, why)


def _find_why_unseen(device: Path, place: Path, filesystem: str, claim: Claim) -> str | None:
    place.mkdir(parents=True, exist_ok=True)
    with volume.unmounted_on_failure(place):
        mounted = volume.try_mount(device, place, filesystem, _AS_IT_LIES.get(filesystem, "ro"))
        why = _find_why_unread(claim) if mounted.exit_code == 0 else mounted.why
        volume.let_go(device, place)
    return why


def _find_why_unread(claim: Claim) -> str | None:
    try:
        with contextlib.suppress(volume.Damaged):
            claim.is_marked()
    except OSError as error:
        return str(error)
    return None


@contextlib.contextmanager
def _only_read(device: Path) -> Iterator[None]:
    """An ext4 that is mounted read-only goes on with what it was deleting, and writes down what errors it meets."""
    procs.check(["blockdev", "--setro", str(device)])
    try:
        yield
    finally:
        procs.check(["blockdev", "--setrw", str(device)])
