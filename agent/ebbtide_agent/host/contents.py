"""The rotating content check: a part of the files is read every night, for what neither size nor times show.

A disk that rots, or whoever writes past the file system, changes a file without a trace. The content of every file is
hashed once in a round of so many nights, and compared with what it was in the last round if the file looks as it did
then. What is known is kept in a file for each of these nights, so that memory does not grow with the tree. A tree of
which a night's share is too much for a night has a round of twice as many nights, or four times as many.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ebbtide_agent.files import write_whole
from ebbtide_agent.host.changes import Names
from ebbtide_agent.host.index import STAT, Block, Entry, is_settled
from ebbtide_agent.host.outcome import Remark
from ebbtide_agent.printable import printable, size
from ebbtide_agent.report import UNKNOWN, WITH_WARNINGS, Health

# At most so much is read in a night, and twice the share that is aimed at.
MOST_BYTES = 8 << 30
MOST_FILES = 50_000
# Larger ones would take a night's share alone: images of disks, which change every night anyway.
LARGEST_BYTES = 2 << 30
# Of a directory of so many entries each file has a night of its own.
LARGE_DIRECTORY = 1000

# Of SHA-256, which processors of today know by themselves: enough to see a change by.
_DIGEST_BYTES = 16
_CHUNK = 1 << 20
_TITLE = b"ebbtide contents 1\n"
_LENGTH = struct.Struct("<H")
_REST = STAT.size + _DIGEST_BYTES

# What is known of a file: how it looked, packed as in the index, and the digest of its content.
Known = tuple[bytes, bytes]


@dataclass(frozen=True)
class Turn:
    """Which part of the files has its turn: the `tonight`-th of as many as there are nights in a round."""

    nights: int
    tonight: int

    def has(self, path: bytes) -> bool:
        return zlib.crc32(path) % self.nights == self.tonight

    @property
    def name(self) -> str:
        return f"{self.tonight}-of-{self.nights}"


def find_turn(directory: Path, days: int, files: int, bytes_total: int) -> Turn:
    """The part that waits longest, of a tree of that many files and bytes in which each is read once in so many days.

    A night that was not complete keeps nothing, so that its part has its turn again.
    """
    nights = days
    while files > nights * MOST_FILES // 2 or bytes_total > nights * MOST_BYTES // 2:
        nights *= 2
    return min((Turn(nights, part) for part in range(nights)), key=lambda turn: _kept_at(directory / turn.name))


@dataclass
class Sample:
    """The files that have their turn, gathered from a scan while it goes by. Without a turn there are none."""

    turn: Turn | None = None
    files: list[Entry] = field(default_factory=list)
    too_large: int = 0

    def watch(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            if self.turn is not None:
                self._add(self.turn, block)
            yield block

    def _add(self, turn: Turn, block: Block) -> None:
        is_large = len(block.stats) >= LARGE_DIRECTORY * STAT.size
        if not is_large and not turn.has(block.directory):
            return
        for entry in block.entries():
            if (is_large and not turn.has(entry.path)) or not _may_be_read(entry):
                continue
            if _size_of(entry) > LARGEST_BYTES:
                self.too_large += 1
            elif len(self.files) < MOST_FILES:
                self.files.append(entry)


@dataclass(frozen=True)
class ContentCheck:
    """What came of a turn: files that are others than they look, and all that is known of its part now.

    `too_large` are the files of its part that are never read. `unread` is why nothing of it was, if so.
    """

    turn: Turn
    changed: tuple[Entry, ...]
    known: Mapping[bytes, Known]
    bytes_read: int
    too_large: int = 0
    unread: str = ""

    def __str__(self) -> str:
        if self.unread:
            return f"contents, {self._part}, were not read: {self.unread}"
        read = f"{len(self.known)} files, {size(self.bytes_read)} read"
        return f"contents, {self._part}: {read}, {len(self.changed)} changed"

    @property
    def _part(self) -> str:
        return f"part {self.turn.tonight + 1} of {self.turn.nights}"

    def names_of_changed(self, names: Names) -> tuple[bytes, ...]:
        """The paths of what changed, of a file with several names all of them."""
        found = (names.get((entry.device, inode_of(entry)), [entry.path]) for entry in self.changed)
        return tuple(dict.fromkeys(path for paths in found for path in paths))

    def health(self) -> tuple[Health, ...]:
        """What nobody looks at is not well because nothing is said of it."""
        too_large = f"{self.too_large} files in {self._part} are larger than {size(LARGEST_BYTES)}, and never read"
        said = (f"{self._part} was not read: {self.unread}" if self.unread else "", too_large if self.too_large else "")
        return tuple(Health("contents", UNKNOWN, each) for each in said if each)

    def remarks(self) -> tuple[Remark, ...]:
        said = "has another content than at the last check, though its size, times and inode are the same"
        what = f"{said}; it was pushed as it is now. Restore it from an earlier point, and look at the disk"
        return tuple(Remark(WITH_WARNINGS, f"/{printable(entry.path)} {what}") for entry in self.changed)


def check_contents(root: bytes, turn: Turn, files: Iterable[Entry], known: Mapping[bytes, Known]) -> ContentCheck:
    """Read the files that have their turn. `known` is what was kept of this part the last time."""
    changed: list[Entry] = []
    now: dict[bytes, Known] = {}
    bytes_read = 0
    for entry in files:
        before = known.get(entry.path)
        digest = _digest_of(root + b"/" + entry.path, entry.stat) if bytes_read < MOST_BYTES else None
        if digest is None:
            # Not read tonight: what is known of it stays true of how it looked then.
            now.update({entry.path: before} if before else {})
            continue
        bytes_read += _size_of(entry)
        now[entry.path] = (entry.stat, digest)
        if before is not None and before[0] == entry.stat and before[1] != digest:
            changed.append(entry)
    return ContentCheck(turn, tuple(changed), now, bytes_read)


def find_known(directory: Path, turn: Turn) -> dict[bytes, Known]:
    """What was kept of a part; nothing when it cannot be read."""
    try:
        packed = zlib.decompress((directory / turn.name).read_bytes())
        return dict(_unpacked(packed)) if packed.startswith(_TITLE) else {}
    except (OSError, zlib.error, struct.error):
        return {}


def keep_known(directory: Path, turn: Turn, known: Mapping[bytes, Known]) -> None:
    """Keep what is known of a part until its next turn. Parts of rounds of another length are of no use any more."""
    directory.mkdir(mode=0o700, exist_ok=True)
    records = (_LENGTH.pack(len(path)) + path + how + digest for path, (how, digest) in known.items())
    write_whole(directory / turn.name, zlib.compress(_TITLE + b"".join(records), 1))
    for other in directory.iterdir():
        if not other.name.endswith(f"-of-{turn.nights}"):
            other.unlink()


def _kept_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _unpacked(packed: bytes) -> Iterator[tuple[bytes, Known]]:
    at = len(_TITLE)
    while at < len(packed):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(packed, at)[0]
        at = end + _REST
        yield packed[start:end], (packed[end : end + STAT.size], packed[end + STAT.size : at])


def _may_be_read(entry: Entry) -> bool:
    """What may have changed already without a trace is pushed anyway."""
    mode = STAT.unpack(entry.stat)[0]
    return stat.S_ISREG(mode) and is_settled(entry.stat) and _size_of(entry) > 0


def inode_of(entry: Entry) -> int:
    return int(STAT.unpack(entry.stat)[7])


def _size_of(entry: Entry) -> int:
    return int(STAT.unpack(entry.stat)[4])


def _digest_of(where: bytes, how: bytes) -> bytes | None:
    """The digest of a file that still looks like this when it was read; None if it does not, or cannot be read."""
    try:
        file = _open_quietly(where)
    except OSError:
        return None
    try:
        digest = hashlib.sha256()
        while chunk := os.read(file, min(_CHUNK, STAT.unpack(how)[4] + 1)):
            digest.update(chunk)
        return digest.digest()[:_DIGEST_BYTES] if _stat_of(os.fstat(file)) == STAT.unpack(how)[4:] else None
    except OSError:
        return None
    finally:
        os.close(file)


def _open_quietly(where: bytes) -> int:
    """Without a new access time, where we may; who only reads should leave no trace."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(PermissionError):
        return os.open(where, flags | os.O_NOATIME)
    return os.open(where, flags)


def _stat_of(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
