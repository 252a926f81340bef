"""A file with holes as a member of a tar that holds no zeros for them: GNU tar's sparse format 1.0, in pax headers.

https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
"""

import errno
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

_A_PIECE = 1 << 20

# Where data begins in a file, and how many bytes of it there are.
Segment = tuple[int, int]


def as_sparse(member: tarfile.TarInfo, content: IO[bytes]) -> IO[bytes] | None:
    """What to add instead of the content, and the member made into that of a sparse file; None if it has no holes."""
    segments = find_segments(content.fileno(), member.size)
    if sum(length for _, length in segments) == member.size:
        return None
    listed = _listed([*segments, (member.size, 0)])
    member.pax_headers = {
        **member.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(member.size),
    }
    above, slash, name = member.name.rpartition("/")
    member.name = f"{above}{slash}GNUSparseFile.0/{name}"
    member.size = len(listed) + sum(length for _, length in segments)
    return io.BufferedReader(_Pieces(_pieces(listed, content, segments)), _A_PIECE)


def find_segments(file: int, size: int) -> list[Segment]:
    """All that is no hole; everything, on a file system that knows of none. The file is at its beginning then."""
    found: list[Segment] = []
    at = 0
    while at < size and (begin := _next_data(file, at)) is not None:
        at = min(os.lseek(file, begin, os.SEEK_HOLE), size)
        found.append((begin, at - begin))
    os.lseek(file, 0, os.SEEK_SET)
    return found


def _next_data(file: int, at: int) -> int | None:
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError as fault:
        if fault.errno != errno.ENXIO:
            raise
        return None


def _listed(segments: Sequence[Segment]) -> bytes:
    """How many there are, then where each begins and how long it is: a number a line, in whole blocks."""
    numbers = [len(segments), *(number for segment in segments for number in segment)]
    lines = "".join(f"{number}\n" for number in numbers).encode()
    return lines + bytes(-len(lines) % tarfile.BLOCKSIZE)


def _pieces(listed: bytes, content: IO[bytes], segments: Sequence[Segment]) -> Iterator[bytes]:
    yield listed
    for begin, length in segments:
        content.seek(begin)
        while length and (piece := content.read(min(length, _A_PIECE))):
            length -= len(piece)
            yield piece


class _Pieces(io.RawIOBase):
    """Pieces, none of them empty, as one file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
