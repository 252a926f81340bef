"""The index: what the last complete push left in the receiver's tree, a compact file read and written as a stream.

A header of fixed length in JSON, then the records, compressed, in the order of a walk: a directory before what is in
it, and the names of a directory sorted. A record is a path and one packed stat; memory does not grow with the tree.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.shapes import decode, encode, field

# A path within the tree and its packed stat. The root's path is empty.
Record = tuple[bytes, bytes]
ROOT = b""

# mode, uid, gid, links, size, mtime, ctime, inode, device; times in nanoseconds.
STAT = struct.Struct("<IIIIQqqQQ")
# A device has another number after some reboots; the change time and the inode say enough.
COMPARED = slice(0, STAT.size - 8)
_CTIME = slice(32, 40)
# Instead of a change time so young that the next change could fall into the same tick of the clock.
TOO_YOUNG = 0
_TOO_YOUNG = struct.pack("<q", TOO_YOUNG)

# What a path has in common with the one before, and how much more follows.
_FRONT = struct.Struct("<HH")
_HEADER_BYTES = 1024
_CHUNK = 1 << 18
_FLUSH_RECORDS = 4096
_LEVEL = 1
# In this order "a", "a/b", "a.b" are sorted as a walk meets them.
_AS_WALKED = bytes.maketrans(b"/", b"\0")


class DamagedIndex(Exception):
    """The index cannot be read to its end; what was read of it says nothing."""


@dataclass(frozen=True)
class Header:
    """What an index describes: the receiver's tree of this generation, as these settings chose it.

    `full` is when everything was last compared; `links_agree` says that the receiver found the same hard links.
    """

    agent: str
    settings: str
    generation: int
    full: datetime
    links_agree: bool
    entries: int


@dataclass(frozen=True)
class Index:
    """A committed index, its header read."""

    path: Path
    header: Header

    def records(self) -> Iterator[Record]:
        """Every record in order. Raises DamagedIndex, at the latest in the end."""
        try:
            with open(self.path, "rb") as file:
                file.seek(_HEADER_BYTES)
                yield from _unpacked(file, self.header.entries)
        except (OSError, zlib.error, struct.error) as error:
            raise DamagedIndex(f"{self.path}: {error}") from error


def find_index(path: Path) -> Index | None:
    """The committed index, or None when there is none that this program can read."""
    try:
        with open(path, "rb") as file:
            return Index(path, _parse_header(str(path), file.read(_HEADER_BYTES)))
    except (OSError, PermanentError, ValueError):
        return None


class Writer:
    """Writes a new index next to the committed one. To be given records in the order of a walk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._file.write(b" " * _HEADER_BYTES)
        self._packer = zlib.compressobj(_LEVEL)
        self._waiting: list[bytes] = []
        self._last = ROOT
        self.entries = 0

    def add(self, path: bytes, stat: bytes) -> None:
        shared = path.rfind(b"/") + 1
        if (self._last + b"/")[:shared] != path[:shared]:
            raise ValueError(f"{path!r} does not follow {self._last!r} in a walk")
        self._waiting += (_FRONT.pack(shared, len(path) - shared), path[shared:], stat)
        self._last = path
        self.entries += 1
        if self.entries % _FLUSH_RECORDS == 0:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.write(self._packer.flush())
        self._file.close()

    def _flush(self) -> None:
        self._file.write(self._packer.compress(b"".join(self._waiting)))
        self._waiting.clear()


def commit(written: Path, path: Path, header: Header) -> None:
    """Make what was written the index, whole or not at all."""
    with open(written, "r+b") as file:
        text = encode({**vars(header), "full": moments.write(header.full)})
        file.write(text.ljust(_HEADER_BYTES - 1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    written.replace(path)


def walk_key(path: bytes) -> bytes:
    """Two paths compare by this key as a walk meets them."""
    return path.translate(_AS_WALKED)


def is_settled(stat: bytes) -> bool:
    """Whether an entry that looks the same next time is the same."""
    return stat[_CTIME] != _TOO_YOUNG


def _unpacked(file: IO[bytes], entries: int) -> Iterator[Record]:
    unpacker = zlib.decompressobj()
    front, stat_size, front_size = _FRONT.unpack_from, STAT.size, _FRONT.size
    last, rest, count = ROOT, b"", 0
    while chunk := file.read(_CHUNK):
        buffer = rest + unpacker.decompress(chunk)
        at, end = 0, len(buffer)
        while at + front_size <= end:
            shared, more = front(buffer, at)
            name = at + front_size
            stat = name + more
            if stat + stat_size > end:
                break
            last = (last + b"/")[:shared] + buffer[name:stat]
            at = stat + stat_size
            count += 1
            yield last, buffer[stat:at]
        rest = buffer[at:]
    if not unpacker.eof or rest or count != entries:
        raise DamagedIndex(f"{file.name} holds {count} whole records of {entries}")


def _parse_header(what: str, text: bytes) -> Header:
    values = decode(what, text)
    return Header(
        agent=field(what, values, "agent", str),
        settings=field(what, values, "settings", str),
        generation=field(what, values, "generation", int),
        full=moments.read(field(what, values, "full", str)),
        links_agree=field(what, values, "links_agree", bool),
        entries=field(what, values, "entries", int),
    )
