"""A fast scan of what travels: one lstat for each entry, in the order of a walk, and what it amounts to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ebbtide_agent.host.index import ROOT, STAT, TOO_YOUNG, Record
from ebbtide_agent.host.selection import Selection, Undecidable

# A change in the same tick of the clock leaves no trace, and neither does one through a memory map until the kernel has
# written the page back, half a minute later: what changed within a minute before the scan may look the same next time.
YOUNG_NS = 60 * 10**9
# The names of hard links are what the scan keeps in memory.
MOST_LINKED_NAMES = 200_000

# Where the kernel itself keeps a change time to be trusted. Elsewhere (network, FUSE) every push is a full one.
_TRUSTED = (
    "bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "proc",
    "ramfs", "reiserfs", "squashfs", "sysfs", "tmpfs", "xfs", "zfs",
)  # fmt: skip
# Small as they are, for instance below /boot/efi, all of them is pushed every night.
_ALWAYS_YOUNG = ("exfat", "msdos", "vfat")
_FOR_EVER_NS = -(1 << 62)
_MOUNTS = "/proc/self/mountinfo"


@dataclass
class Tally:
    """What a scan has met: counts, and for each file with several names those that travel."""

    entries: int = 0
    files: int = 0
    size: int = 0
    linked_names: int = 0
    names: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def groups(self) -> Iterator[list[bytes]]:
        """The names of each file that has several of them in the tree."""
        return (names for names in self.names.values() if len(names) > 1)


@dataclass(frozen=True)
class Tree:
    """A tree to scan. What changed from `young_ns` on (since 1970) may change again without a trace."""

    root: bytes
    selection: Selection
    one_file_system: bool
    young_ns: int


def scan(tree: Tree, tally: Tally) -> Iterator[Record]:
    """Every entry that travels, the root first. What goes away meanwhile is not there.

    Raises Undecidable when only a full push can tell what is in the tree.
    """
    # The root may be a link to the directory that is meant.
    top = os.lstat(tree.root + b"/.")
    ages = _Ages(tree.young_ns)
    yield _record(ROOT, top, ages.young_ns(top.st_dev, tree.root), tally)
    pending = [(ROOT, _names(tree.root))]
    while pending:
        prefix, names = pending[-1]
        if not names:
            pending.pop()
            continue
        path = prefix + names.pop()
        where = tree.root + b"/" + path
        found = _find(path, where, tree.selection)
        if found is None:
            continue
        is_directory = stat.S_ISDIR(found.st_mode)
        is_outside = is_directory and tree.one_file_system and found.st_dev != top.st_dev
        young_ns = _FOR_EVER_NS if is_outside else ages.young_ns(found.st_dev, where)
        yield _record(path, found, young_ns, tally)
        if is_directory and not is_outside:
            pending.append((path + b"/", _names(where)))


def _find(path: bytes, where: bytes, selection: Selection) -> os.stat_result | None:
    """The entry as it is now, or None when it is gone or does not travel."""
    try:
        found = os.lstat(where)
    except FileNotFoundError:
        return None
    except OSError as error:
        if selection.takes(path, True) or selection.takes(path, False):
            raise Undecidable(f"{os.fsdecode(where)} cannot be looked at: {error.strerror}") from error
        return None
    return found if selection.takes(path, stat.S_ISDIR(found.st_mode)) else None


def _record(path: bytes, found: os.stat_result, young_ns: int, tally: Tally) -> Record:
    mode, changed, links = found.st_mode, found.st_ctime_ns, found.st_nlink
    tally.entries += 1
    if stat.S_ISREG(mode):
        tally.files += 1
        tally.size += found.st_size
    elif stat.S_ISLNK(mode):
        tally.size += found.st_size
    if links > 1 and not stat.S_ISDIR(mode):
        _add_name(path, found, tally)
    return path, STAT.pack(
        mode,
        found.st_uid,
        found.st_gid,
        min(links, 0xFFFFFFFF),
        found.st_size,
        found.st_mtime_ns,
        TOO_YOUNG if changed >= young_ns else changed,
        found.st_ino,
        found.st_dev,
    )


def _add_name(path: bytes, found: os.stat_result, tally: Tally) -> None:
    tally.linked_names += 1
    if tally.linked_names > MOST_LINKED_NAMES:
        raise Undecidable(f"the tree has more than {MOST_LINKED_NAMES} names of hard links")
    tally.names.setdefault((found.st_dev, found.st_ino), []).append(path)


def _names(where: bytes) -> list[bytes]:
    """The names in a directory, the first one last."""
    try:
        return sorted(os.listdir(where), reverse=True)  # noqa: PTH208 - names are bytes, and no object for each
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Undecidable(f"{os.fsdecode(where)} cannot be read: {error.strerror}") from error


class _Ages:
    """Knows of each file system from when on a change is too young to be sure of it."""

    def __init__(self, young_ns: int) -> None:
        self._young_ns = young_ns
        self._known: dict[int, int] = {}
        self._mounts = _read_mounts()

    def young_ns(self, device: int, where: bytes) -> int:
        """Raises Undecidable on a file system whose change times mean little."""
        if device not in self._known:
            self._known[device] = self._look(os.path.realpath(where))
        return self._known[device]

    def _look(self, where: bytes) -> int:
        kind = _kind_of(where, self._mounts)
        if kind in _ALWAYS_YOUNG:
            return _FOR_EVER_NS
        if kind not in _TRUSTED:
            raise Undecidable(f"{os.fsdecode(where)} is on {kind}, whose change times are not to be trusted")
        return self._young_ns


def _read_mounts() -> dict[bytes, str]:
    """The kind of file system by mount point; of several in one place the last one shows."""
    mounts = {}
    with open(_MOUNTS, "rb") as file:
        for line in file:
            fields, _, rest = line.partition(b" - ")
            point = fields.split()[4].decode("unicode_escape").encode("latin-1")
            mounts[point] = rest.split()[0].decode()
    return mounts


def _kind_of(where: bytes, mounts: dict[bytes, str]) -> str:
    while where not in mounts and where != b"/":
        where = where[: where.rindex(b"/")] or b"/"
    return mounts.get(where, "an unknown file system")
