"""A drill's corpus: a store as a receiver keeps it, and what may befall it or its manifest."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.entry import Entry
from ebbtide_agent.fakesuper import ACCESS_ACL, STAT, Recorded, recorded_stat
from ebbtide_agent.manifest_file import read_manifest

# The length of an ACL in the kernel's form that has owner, group, mask and others alone.
_NOBODY_NAMED = 36


@dataclass
class Store:
    """One copy of a store: its tree, its manifest, what its brief says else; and chance, which chooses where."""

    tree: Path
    manifest: Path
    chance: random.Random
    brief: dict[str, Any] = field(default_factory=dict)

    def entries(self, is_wanted: Callable[[Entry], bool]) -> list[Entry]:
        """What the manifest lists of these, in the order of the paths."""
        with open(self.manifest, "rb") as file:
            return [each for each in read_manifest(file)[1] if is_wanted(each)]

    def pick(self, is_wanted: Callable[[Entry], bool]) -> Entry:
        return self.chance.choice(self.entries(is_wanted))

    def pick_two(self, is_wanted: Callable[[Entry], bool]) -> tuple[Entry, Entry]:
        first, second = sorted(self.chance.sample(self.entries(is_wanted), 2), key=lambda each: each.path)
        return first, second

    def where(self, path: bytes) -> Path:
        return self.tree / os.fsdecode(path)

    def lines(self) -> list[bytes]:
        """The manifest's, its header first."""
        with gzip.open(self.manifest) as file:
            return file.read().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes]) -> None:
        with gzip.open(self.manifest, "wb") as file:
            file.writelines(lines)


def grow_by_chance(root: Path, chance: random.Random) -> None:
    """A tree that nobody thought of: whatever names, owners, modes, times, contents, attributes and links come."""
    directories, others = [root], []
    root.mkdir()
    for _ in range(40):
        where = chance.choice(directories) / os.fsdecode(_a_name(chance))
        kind = chance.choice("dddfffffllhpcb")
        if os.path.lexists(where):
            continue
        if kind == "d":
            where.mkdir()
            directories.append(where)
            continue
        if kind == "h" and others:
            os.link(chance.choice(others), where, follow_symlinks=False)
            continue
        if kind == "l":
            where.symlink_to(os.fsdecode(_a_name(chance)))
        elif kind in "pcb":
            types = {"p": stat.S_IFIFO, "c": stat.S_IFCHR, "b": stat.S_IFBLK}
            number = 0 if kind == "p" else os.makedev(chance.randrange(512), chance.randrange(1 << 18))
            os.mknod(where, types[kind] | 0o600, number)
        else:
            where.write_bytes(chance.randbytes(chance.choice((0, 1, 100, 70_000))))
        others.append(where)
    for where in (*others, *reversed(directories)):
        _settle(where, chance)


def _a_name(chance: random.Random) -> bytes:
    letters = [byte for byte in range(1, 256) if byte != ord("/")]
    return b"n" + bytes(chance.choices(letters, k=chance.randrange(1, 30)))


def _settle(where: Path, chance: random.Random) -> None:
    os.chown(where, chance.randrange(1 << 31), chance.randrange(1 << 31), follow_symlinks=False)
    if not where.is_symlink():
        where.chmod(chance.randrange(0o10000))
    if where.is_file() and not where.is_symlink():
        os.setxattr(where, "user.chance", chance.randbytes(chance.randrange(1, 200)))
    os.utime(where, ns=(0, chance.randrange(1 << 61)), follow_symlinks=False)


# It happens to a store; the paths it happens to, in their order.
Harm = Callable[[Store], "tuple[bytes, ...]"]


def befalls(what: str, do: Harm, *, finds: str, verdict: str = "different") -> Any:
    """One set of parameters: what befalls a store, and the findings and the verdict of the drill that meets it.

    Each line of `finds` is a finding: {0} and {1} are the paths, an ellipsis is whatever stands there. Without a {1}
    they are the findings of each path.
    """
    return pytest.param(do, finds, verdict, id=what)


@contextmanager
def unseen(tree: Path) -> Iterator[None]:
    """No directory's time betrays what is done to its entries: it has to be found by itself."""
    places = [tree, *(Path(where) / name for where, names, _ in os.walk(tree) for name in names)]
    before = {place: place.stat() for place in places}
    yield
    for place, status in before.items():
        if place.exists():
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))


# -- which entries it may befall --------------------------------------------------------------------------------------

Which = Callable[[Entry], bool]


def of_kind(kinds: str) -> Which:
    """Entries of these kinds, below the tree itself, with one name; files with some content."""
    return lambda each: (
        each.kind in kinds and not each.group and each.path != b"." and bool(each.size or each.kind != "f")
    )


def with_mode(bits: int, kinds: str) -> Which:
    return lambda each: bool(each.mode & bits) and of_kind(kinds)(each)


def without_acl(kinds: str) -> Which:
    """Entries whose mode is nowhere else."""
    return lambda each: "system.posix_acl_access" not in each.xattrs and of_kind(kinds)(each)


def below(directory: bytes) -> Which:
    return lambda each: each.path.startswith(directory + b"/")


def is_linked(each: Entry) -> bool:
    """A further name of a file that has three."""
    return each.kind == "f" and each.group not in (None, each.path)


# -- content and names ------------------------------------------------------------------------------------------------


def rewrite(is_wanted: Which, change: Callable[[bytes], bytes]) -> Harm:
    """Other content in place, and the time as it was."""

    def harm(store: Store) -> tuple[bytes, ...]:
        path = store.pick(is_wanted).path
        where = store.where(path)
        before = where.stat()
        content = change(where.read_bytes())
        with open(where, "wb") as file:
            file.write(content)
        os.utime(where, ns=(before.st_atime_ns, before.st_mtime_ns))
        return (path,)

    return harm


def flip_a_bit(store: Store) -> tuple[bytes, ...]:
    def flipped(content: bytes) -> bytes:
        at = store.chance.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << store.chance.randrange(8)]) + content[at + 1 :]

    return rewrite(of_kind("f"), flipped)(store)


def swap_twins(store: Store) -> tuple[bytes, ...]:
    first, second = (each.path for each in store.pick_two(below(b"twins")))
    aside = store.tree / "aside"
    store.where(first).rename(aside)
    store.where(second).rename(store.where(first))
    aside.rename(store.where(second))
    return first, second


def remove(is_wanted: Which) -> Harm:
    """One entry, and all that is in it."""

    def harm(store: Store) -> tuple[bytes, ...]:
        chosen = store.pick(is_wanted).path
        return _removed(store, lambda each: each.path == chosen or below(chosen)(each))

    return harm


def remove_all(store: Store) -> tuple[bytes, ...]:
    return _removed(store, lambda each: each.path != b".")


def _removed(store: Store, which: Which) -> tuple[bytes, ...]:
    gone = store.entries(which)
    for each in reversed(gone):
        where = store.where(each.path)
        where.rmdir() if each.kind == "d" else where.unlink()
    return tuple(each.path for each in gone)


def rename(store: Store) -> tuple[bytes, ...]:
    old = store.pick(below(b"twins")).path
    new = old + b"~"
    store.where(old).rename(store.where(new))
    return old, new


def add(make: Callable[[Path], None]) -> Harm:
    def harm(store: Store) -> tuple[bytes, ...]:
        path = store.pick(of_kind("d")).path + b"/added"
        make(store.where(path))
        return (path,)

    return harm


# -- what is recorded of an entry -------------------------------------------------------------------------------------

Change = Callable[[Recorded], Recorded]


def rerecord(is_wanted: Which, change: Change) -> Harm:
    """Another record of owner, mode or device, for every name of the entry."""

    def harm(store: Store) -> tuple[bytes, ...]:
        chosen = store.pick(is_wanted)
        where = store.where(chosen.path)
        told = change(recorded_stat(where.stat(), os.getxattr(where, STAT)))
        text = f"{told.mode:o} {told.rdev[0]},{told.rdev[1]} {told.uid}:{told.gid}"
        os.setxattr(where, STAT, text.encode())
        if chosen.group is None:
            return (chosen.path,)
        return tuple(each.path for each in store.entries(lambda each: each.group == chosen.group))

    return harm


def without_mode(bits: int) -> Change:
    return lambda now: replace(now, mode=now.mode & ~bits)


def as_kind(kind: int) -> Change:
    return lambda now: replace(now, mode=kind | stat.S_IMODE(now.mode))


def forget_the_record(store: Store) -> tuple[bytes, ...]:
    path = store.pick(below(b"twins")).path
    os.removexattr(store.where(path), STAT)
    return (path,)


def spoil_the_record(store: Store) -> tuple[bytes, ...]:
    os.setxattr(store.where(store.pick(of_kind("f")).path), STAT, b"100644 0,0")
    return ()


def later(kinds: str, nanoseconds: int) -> Harm:
    def harm(store: Store) -> tuple[bytes, ...]:
        path = store.pick(of_kind(kinds)).path
        before = store.where(path).stat()
        os.utime(store.where(path), ns=(before.st_atime_ns, before.st_mtime_ns + nanoseconds))
        return (path,)

    return harm


def reattribute(stored: str, change: Callable[[bytes], bytes]) -> Harm:
    """Another value of an attribute, by the name that it has in the store."""

    def harm(store: Store) -> tuple[bytes, ...]:
        path = store.pick(_storing(store, stored)).path
        os.setxattr(store.where(path), stored, change(os.getxattr(store.where(path), stored)))
        return (path,)

    return harm


def lose(stored: str) -> Harm:
    def harm(store: Store) -> tuple[bytes, ...]:
        path = store.pick(_storing(store, stored)).path
        os.removexattr(store.where(path), stored)
        return (path,)

    return harm


def _storing(store: Store, name: str) -> Which:
    return lambda each: name in os.listxattr(store.where(each.path))


def give_another_right(store: Store) -> tuple[bytes, ...]:
    """The last one whom an ACL names, in rsync's form of it, may write, or may not any more."""
    path = store.pick(lambda each: len(each.xattrs.get("system.posix_acl_access", b"")) > _NOBODY_NAMED).path
    acl = os.getxattr(store.where(path), ACCESS_ACL)
    (permissions,) = struct.unpack("<I", acl[-4:])
    os.setxattr(store.where(path), ACCESS_ACL, acl[:-4] + struct.pack("<I", permissions ^ 2))
    return (path,)


def add_an_attribute(store: Store) -> tuple[bytes, ...]:
    path = store.pick(of_kind("fd")).path
    os.setxattr(store.where(path), "user.added", b"x")
    return (path,)


# -- links ------------------------------------------------------------------------------------------------------------


def break_a_hard_link(store: Store) -> tuple[bytes, ...]:
    """The same content, record and time in a file of its own."""
    linked = store.pick(is_linked)
    where, aside = store.where(linked.path), store.tree / "aside"
    shutil.copy2(where, aside)
    aside.rename(where)
    return linked.group or b"", linked.path


def link_equals(store: Store) -> tuple[bytes, ...]:
    first, second = (each.path for each in store.pick_two(below(b"equals")))
    store.where(second).unlink()
    store.where(second).hardlink_to(store.where(first))
    return first, second


# -- the manifest -----------------------------------------------------------------------------------------------------


def of_manifest(change: Callable[[bytes], bytes]) -> Harm:
    """The object in the archive, byte by byte."""

    def harm(store: Store) -> tuple[bytes, ...]:
        store.manifest.write_bytes(change(store.manifest.read_bytes()))
        return ()

    return harm


def of_header(old: bytes, new: bytes) -> Harm:
    def harm(store: Store) -> tuple[bytes, ...]:
        header, *lines = store.lines()
        store.rewrite([header.replace(old, new), *lines])
        return ()

    return harm


def unlist_some(store: Store) -> tuple[bytes, ...]:
    """The last lines are gone, and the object is whole all the same."""
    return _unlisted(store, store.chance.randrange(1, len(store.lines()) - 1))


def unlist_all(store: Store) -> tuple[bytes, ...]:
    return _unlisted(store, 0)


def _unlisted(store: Store, kept: int) -> tuple[bytes, ...]:
    before = store.entries(lambda _: True)
    store.rewrite(store.lines()[: 1 + kept])
    return tuple(each.path for each in before[kept:])


def forget_a_digest(store: Store) -> tuple[bytes, ...]:
    lines = store.lines()
    at = store.chance.choice([number for number, line in enumerate(lines) if b',"sha256":' in line])
    lines[at] = re.sub(b',"sha256":"[0-9a-f]*"', b"", lines[at])
    store.rewrite(lines)
    return ()


def list_twice(store: Store) -> tuple[bytes, ...]:
    lines = store.lines()
    at = store.chance.randrange(1, len(lines))
    store.rewrite([*lines[: at + 1], *lines[at:]])
    return ()


def briefed(**words: Any) -> Harm:
    def harm(store: Store) -> tuple[bytes, ...]:
        store.brief |= words
        return ()

    return harm
