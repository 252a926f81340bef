"""Random edits of a real tree, as an operator's night makes them: small numbers in, whatever they mean for it done."""

# Names are bytes, which pathlib does not take.
# ruff: noqa: PTH101,PTH102,PTH103,PTH104,PTH108,PTH115,PTH211

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

from hypothesis import strategies as some

from ebbtide_console.sandbox import awkward
from ebbtide_console.sandbox.awkward import GROUP, MASK, NO_ID, OTHER, OWNER, OWNING_GROUP, USER, acl
from tests.local.receiver_machine import wait_until

IS_ROOT = os.geteuid() == 0
# From here on a file is changed in place, in these tests: what is pushed and compared is less than an agent's own.
LARGE_BYTES = 1 << 20
ODD_NAMES = [b"new", b"line\nbreak", b"\xff\xfe", b"-dash", b"*", b"a.b", b" "]


def plant(root: Path) -> None:
    """Few entries of every kind, with links across directories and files large enough to be changed in place."""
    base = os.fsencode(root)
    for directory in (b"d", b"d/e", b"d/e/f", b"g", b"h\n\xff"):
        os.mkdir(base + b"/" + directory)
        for name in (b"one", b"two"):
            _write(base + b"/" + directory + b"/" + name, directory + name)
    for place in (b"large", b"g/large"):
        with open(base + b"/" + place, "wb") as file:
            file.write(place * 1000)
            file.truncate(LARGE_BYTES + len(place))
    os.link(base + b"/d/one", base + b"/g/linked")
    os.link(base + b"/d/one", base + b"/linked")
    os.symlink(b"d/one", base + b"/d/link")
    os.link(base + b"/d/link", base + b"/g/link", follow_symlinks=False)
    os.mkfifo(base + b"/g/fifo")
    os.link(base + b"/g/fifo", base + b"/fifo")
    os.link(base + b"/g/large", base + b"/d/e/large")
    os.link(base + b"/d/two", base + b"/d/e/linked-two")
    if IS_ROOT:
        os.mknod(base + b"/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.link(base + b"/null", base + b"/d/null")


def sink(tree: Path, name: str) -> None:
    """Move a directory almost as far down as a server may have it: no rsync reaches that without a chroot."""
    with contextlib.chdir(tree):
        below = Path(*["d" * 201] * 20)
        below.mkdir(parents=True)
        sunken = Path(name).rename(below / name)
        for each in (sunken, *sunken.parents):
            os.utime(each, ns=(0, 1234567890987654321))


def dig(tree: Path, length: int) -> Path:
    """Make a directory whose whole path, from / on, has this length; the way to it from the tree."""
    room = length - len(str(tree)) - 1
    whole = (room - 1) // 200
    way = Path(*["d" * 199] * whole, "d" * (room - 200 * whole))
    with contextlib.chdir(tree):
        way.mkdir(parents=True)
    return way


@contextlib.contextmanager
def a_file_whose_names_vanish(root: Path, arriving: Callable[[], bool]) -> Iterator[None]:
    """It is new, has eight names, and loses all of them in the course of the block: once something else arrives."""
    names = [root / f"g/name {number}" for number in range(8)]
    names[0].write_text("in the list of what changed")
    for name in names[1:]:
        name.hardlink_to(names[0])
    vanishing = Thread(target=lambda: (wait_until(arriving, "what comes first"), [name.unlink() for name in names]))
    vanishing.start()
    try:
        yield
    finally:
        vanishing.join()


class Editor:
    """Edits a tree. Every edit takes two numbers, which choose what it is done to and how."""

    def __init__(self, root: Path) -> None:
        self._base = os.fsencode(root)
        self._count = 0

    def edit(self, name: str, first: int, second: int) -> None:
        """An edit that makes no sense here and now, a directory moved into itself for instance, is none."""
        self._count += 1
        with contextlib.suppress(OSError):
            EDITS[name](self, first, second)

    def _paths(self) -> list[bytes]:
        found = []
        for directory, directories, files in os.walk(self._base):
            found += [directory + b"/" + name for name in (*directories, *files)]
        return sorted(found)

    def _any(self, number: int, wanted: Callable[[os.stat_result], bool] = lambda _: True) -> bytes:
        paths = [path for path in self._paths() if wanted(os.lstat(path))]
        if not paths:
            raise FileNotFoundError
        return paths[number % len(paths)]

    def _file(self, number: int) -> bytes:
        return self._any(number, lambda found: stat.S_ISREG(found.st_mode))

    def _name(self, number: int) -> bytes:
        """A name in some directory: often a new one, sometimes one that exists."""
        directories = [self._base, *(path for path in self._paths() if stat.S_ISDIR(os.lstat(path).st_mode))]
        return directories[number % len(directories)] + b"/" + ODD_NAMES[number // 7 % len(ODD_NAMES)]

    def write(self, first: int, second: int) -> None:
        _write(self._name(first), b"%d %d" % (self._count, second))

    def append(self, first: int, second: int) -> None:
        with open(self._file(first), "ab") as file:
            file.write(b"more %d" % second)

    def change_in_the_middle(self, first: int, second: int) -> None:
        with open(self._any(first, lambda found: found.st_size >= LARGE_BYTES), "r+b") as file:
            file.seek(second * 1000 % LARGE_BYTES)
            file.write(b"changed %d" % self._count)

    def change_and_hide_it(self, first: int, second: int) -> None:
        """Another content of the same length, and the old time."""
        path = self._file(first)
        before = os.lstat(path)
        with open(path, "r+b") as file:
            file.write((b"%d" % (self._count + second))[: before.st_size])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def set_back(self, first: int, second: int) -> None:
        os.utime(self._any(first), ns=(0, second), follow_symlinks=False)

    def move(self, first: int, second: int) -> None:
        os.rename(self._any(first), self._name(second))

    def move_over(self, first: int, second: int) -> None:
        os.rename(self._any(first), self._any(second))

    def swap(self, first: int, second: int) -> None:
        one, two = self._any(first), self._any(second)
        aside = self._base + b"/aside"
        os.rename(one, aside)
        try:
            os.rename(two, one)
        except OSError:
            os.rename(aside, one)
            raise
        os.rename(aside, two)

    def delete(self, first: int, _: int) -> None:
        _remove(self._any(first))

    def make_directory(self, first: int, second: int) -> None:
        path = self._name(first)
        os.makedirs(path + b"/deeper")
        _write(path + b"/deeper/file", b"%d" % second)

    def link(self, first: int, second: int) -> None:
        os.link(
            self._any(first, lambda found: not stat.S_ISDIR(found.st_mode)), self._name(second), follow_symlinks=False
        )

    def break_link(self, first: int, second: int) -> None:
        """A copy takes the place of one name: the same in everything but the inode, sometimes but one attribute."""
        path = self._any(first, lambda found: found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode))
        take_the_place(path, second % 2)

    def become_another_kind(self, first: int, second: int) -> None:
        path = self._any(first)
        _remove(path)
        kind = second % 4
        if kind == 0:
            os.symlink(b"target %d" % second, path)
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            _write(path, b"a file now")
        else:
            os.mkdir(path)
            _write(path + b"/in it", b"%d" % second)

    def change_mode(self, first: int, second: int) -> None:
        path = self._any(first, lambda found: not stat.S_ISLNK(found.st_mode))
        os.chmod(path, 0o4700 | second % 0o100)

    def change_owner(self, first: int, second: int) -> None:
        os.chown(self._any(first), 1 + second % 5, second % 3, follow_symlinks=False)

    def set_attribute(self, first: int, second: int) -> None:
        path = self._any(first, lambda found: stat.S_IFMT(found.st_mode) in (stat.S_IFREG, stat.S_IFDIR))
        os.setxattr(path, b"user.note", b"%d" % second)

    def remove_attribute(self, first: int, _: int) -> None:
        path = self._any(first, lambda found: found.st_size < LARGE_BYTES and not stat.S_ISLNK(found.st_mode))
        for name in os.listxattr(path):
            os.removexattr(path, name)

    def set_acl(self, first: int, second: int) -> None:
        # Without the 1 nobody but root could pass a directory of their own any more.
        owner = 6 if IS_ROOT else 7
        group = (4, 7)[second // 3 % 2]
        whole = acl((OWNER, owner, NO_ID), (USER, 4, 1000 + second % 3), (OWNING_GROUP, group, NO_ID), (GROUP, 5, 7),
                    (MASK, 7, NO_ID), (OTHER, 0, NO_ID))  # fmt: skip
        path = self._any(first, lambda found: not stat.S_ISLNK(found.st_mode))
        os.setxattr(path, b"system.posix_acl_access", whole)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.setxattr(path, b"system.posix_acl_default", whole)

    def change_mask(self, first: int, second: int) -> None:
        """Which is what a chmod of something with an ACL does."""
        masked = [
            path for path in self._paths() if "system.posix_acl_access" in os.listxattr(path, follow_symlinks=False)
        ]
        if masked:
            path = masked[first % len(masked)]
            os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) & ~0o070 | second % 8 << 3)

    def set_capability(self, first: int, second: int) -> None:
        os.setxattr(self._file(first), b"security.capability", awkward.capability(1 << second % 20))


EDITS: dict[str, Callable[[Editor, int, int], None]] = {
    name: edit for name, edit in vars(Editor).items() if not name.startswith("_") and name != "edit"
}

# An edit by name, and two numbers that choose where and what.
Edit = tuple[str, int, int]
# One or two nights, each with the edits before it; but for those that Hypothesis always begins with.
NIGHTS = some.lists(
    some.lists(
        some.tuples(some.sampled_from(sorted(EDITS)), some.integers(0, 500), some.integers(0, 500)),
        min_size=1,
        max_size=8,
    ),
    min_size=1,
    max_size=2,
).filter(lambda nights: nights != [[(min(EDITS), 0, 0)]])


def take_the_place(path: Path | bytes, group: int = 0) -> None:
    """Have a copy take the place of a name, the same in everything but the inode, and the group if that is wanted."""
    before, aside = os.lstat(path), os.fsencode(path) + b".aside"
    if stat.S_ISREG(before.st_mode):
        shutil.copyfile(path, aside)
    elif stat.S_ISLNK(before.st_mode):
        os.symlink(os.fsencode(os.readlink(path)), aside)
    else:
        os.mknod(aside, before.st_mode, before.st_rdev)
    if IS_ROOT:
        os.chown(aside, before.st_uid, before.st_gid + group, follow_symlinks=False)
    if not stat.S_ISLNK(before.st_mode):
        os.chmod(aside, stat.S_IMODE(before.st_mode))
    os.utime(aside, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)
    os.rename(aside, path)


def _write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _remove(path: bytes) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
