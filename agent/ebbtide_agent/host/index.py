"""The index: what the last complete push left in the receiver's tree, a compact file read and written as a stream.

A header of fixed length in JSON, then blocks, compressed, in the order of a walk: the entries of one directory by name,
then those of each directory in it. A directory that did not change is two equal blocks. Memory does not grow with the
tree: a directory of very many entries has several blocks.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import IO, NamedTuple

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.shapes import decode, encode, field, moment

ROOT = b""

# mode, uid, gid, links, size, mtime, ctime, inode; times in nanoseconds. A change time is negative where it is so young
# that the next change could fall into the same tick of the clock.
STAT = struct.Struct("<IIIIQqqQ")
# Of the same: mode, links, size.
LOOK = struct.Struct("<I8xIQ24x")
# The highest byte of the change time, which has its sign.
_CTIME_SIGN = 39
_NEGATIVE = 0x80

MOST_ENTRIES_OF_A_BLOCK = 512

# How many entries a block has, and how many bytes its directory, its names and its devices.
_FRONT = struct.Struct("<IIII")
DEVICE = struct.Struct("<Q")
_HEADER_BYTES = 1024
_CHUNK = 1 << 18
_FLUSH_BYTES = 1 << 18
_LEVEL = 1
# In this order "a", "a/b", "a.b" are sorted as a walk meets them.
_AS_WALKED = bytes.maketrans(b"/", b"\0")


class Entry(NamedTuple):
    """One entry: its path within the tree (the root's is empty), its packed stat, and the device it is on."""

    path: bytes
    stat: bytes
    device: int


class Block(NamedTuple):
    """Entries of one directory in the order of their names. The root itself is the nameless entry of the directory "".

    `names` have a NUL between them, `stats` follow each other, `devices` is one for all or one for each entry: a device
    has another number after some reboots, so that the stats alone tell what changed. `settled`: no entry is too young.
    `leads_to` are the directories among them that a scan goes into; an index does not keep them.
    """

    directory: bytes
    names: bytes
    stats: bytes
    devices: bytes
    settled: bool = True
    leads_to: tuple[bytes, ...] = ()

    def is_as(self, before: Block) -> bool:
        """Whether every entry is what it was."""
        return self.settled and self[:3] == before[:3]

    def entries(self) -> Iterator[Entry]:
        prefix = self.directory + b"/" if self.directory else b""
        stats = (self.stats[at : at + STAT.size] for at in range(0, len(self.stats), STAT.size))
        devices = [device for (device,) in DEVICE.iter_unpack(self.devices)]
        each = devices if len(devices) > 1 else repeat(devices[0])
        for name, stat, device in zip(self.names.split(b"\0"), stats, each):
            yield Entry(prefix + name, stat, device)

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Blocks and entries in order have ascending keys; a block's is its first entry's."""
        return place_in_walk(self.directory), self.names.partition(b"\0")[0]


class DamagedIndex(Exception):
    """The index cannot be read to its end; what was read of it says nothing."""


@dataclass(frozen=True)
class Header:
    """What an index describes: the receiver's tree of this generation, as these settings chose it.

    `full` is when everything was last compared; `links_agree` says that the receiver found the same hard links.
    `unsure`: what changed while that was pushed was not looked after.
    """

    agent: str
    settings: str
    generation: int
    full: datetime
    links_agree: bool
    entries: int
    unsure: bool = False


@dataclass(frozen=True)
class Index:
    """A committed index, its header read."""

    path: Path
    header: Header

    def blocks(self) -> Iterator[Block]:
        """Every block in order. Raises DamagedIndex, at the latest in the end."""
        try:
            with open(self.path, "rb") as file:
                file.seek(_HEADER_BYTES)
                yield from _unpacked(file, self.header.entries)
        except (OSError, zlib.error, struct.error) as error:
            raise DamagedIndex(f"{self.path}: {error}") from error

    def entries(self) -> Iterator[Entry]:
        return (entry for block in self.blocks() for entry in block.entries())


def find_index(path: Path) -> Index | None:
    """The committed index, or None when there is none that this program can read."""
    try:
        with open(path, "rb") as file:
            return Index(path, _parse_header(str(path), file.read(_HEADER_BYTES)))
    except (OSError, PermanentError, ValueError):
        return None


class Writer:
    """Writes a new index next to the committed one. To be given blocks in the order of a walk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._file.write(b" " * _HEADER_BYTES)
        self._packer = zlib.compressobj(_LEVEL)
        self._waiting = bytearray()
        self._last: tuple[bytes, bytes] | None = None
        self.entries = 0

    def add(self, block: Block) -> None:
        if self._last is not None and block.key <= self._last:
            raise ValueError(f"a block of {block.directory!r} does not follow one of {self._last[0]!r} in a walk")
        self._last = block.key
        entries = len(block.stats) // STAT.size
        self.entries += entries
        self._waiting += _FRONT.pack(entries, len(block.directory), len(block.names), len(block.devices))
        self._waiting += b"".join(block[:4])
        if len(self._waiting) >= _FLUSH_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.write(self._packer.flush())
        self._file.close()

    def _flush(self) -> None:
        self._file.write(self._packer.compress(self._waiting))
        self._waiting.clear()


def commit(written: Path, path: Path, header: Header) -> None:
    """Make what was written the index, whole or not at all."""
    with open(written, "r+b") as file:
        text = encode({**vars(header), "full": moments.write(header.full)})
        file.write(text.ljust(_HEADER_BYTES - 1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    written.replace(path)


def walk_key(path: bytes) -> tuple[bytes, bytes]:
    """Two paths compare by this key as their entries follow each other."""
    directory, _, name = path.rpartition(b"/")
    return place_in_walk(directory), name


def place_in_walk(directory: bytes) -> bytes:
    """Two directories compare by it as a walk meets them."""
    return directory.translate(_AS_WALKED)


def as_young(ctime: int) -> int:
    """A change time as it is kept where it is too young to be trusted. FAT has some that are zero."""
    return -max(abs(ctime), 1)


def is_settled(stat: bytes) -> bool:
    """Whether an entry that looks the same next time is the same."""
    return stat[_CTIME_SIGN] < _NEGATIVE


def _unpacked(file: IO[bytes], entries: int) -> Iterator[Block]:
    unpacker = zlib.decompressobj()
    rest, count = b"", 0
    while chunk := file.read(_CHUNK):
        buffer = rest + unpacker.decompress(chunk)
        at = 0
        while at + _FRONT.size <= len(buffer):
            number, *lengths = _FRONT.unpack_from(buffer, at)
            directory = at + _FRONT.size
            names = directory + lengths[0]
            stats = names + lengths[1]
            devices = stats + number * STAT.size
            end = devices + lengths[2]
            if end > len(buffer):
                break
            block = Block(buffer[directory:names], buffer[names:stats], buffer[stats:devices], buffer[devices:end])
            if block.names.count(b"\0") + 1 != number or lengths[2] not in (DEVICE.size, number * DEVICE.size):
                raise DamagedIndex(f"{file.name} has a block of {number} entries that does not hold them")
            count += number
            at = end
            yield block
        rest = buffer[at:]
    if not unpacker.eof or rest or count != entries:
        raise DamagedIndex(f"{file.name} holds {count} whole entries of {entries}")


def _parse_header(what: str, text: bytes) -> Header:
    # Earlier agents were always sure.
    values = {"unsure": False, **decode(what, text)}
    return Header(
        agent=field(what, values, "agent", str),
        settings=field(what, values, "settings", str),
        generation=field(what, values, "generation", int),
        full=moment(what, values, "full"),
        links_agree=field(what, values, "links_agree", bool),
        entries=field(what, values, "entries", int),
        unsure=field(what, values, "unsure", bool),
    )
