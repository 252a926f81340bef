"""A manifest as a file: compressed lines, written whole or not at all, read as a stream."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Callable

from ebbtide_agent.entry import Entry, Header, decode, decode_header, encode, encode_header, path_in, quoted
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import sync_directory
from ebbtide_agent.printable import printable, size

_LEVEL = 5
# A path and a link's target are some kilobytes; the rest is for an entry's attributes.
LONGEST_LINE = 16 << 20
# Of S3's objects none that is written at once is larger than 5 GB.
LARGEST = 4 << 30
# What comes of reading one that is damaged.
DAMAGE = (OSError, EOFError, ValueError, zlib.error)


def write_manifest(out: Path, header: Header, entries: Iterable[Entry], most: int = LARGEST) -> str:
    """Write `out` atomically and durably; the digest of the entries alone. The same always give the same bytes.

    Raises PermanentError, and leaves no file, when an entry makes a line that nobody would read again, or all of them
    take more than `most` bytes.
    """
    temporary = out.with_name(out.name + ".part")
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            content = _write_lines(file, header, entries, most)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(out.parent)
    return content


def read_manifest(file: IO[bytes]) -> tuple[Header, Iterator[Entry]]:
    """The header, and a stream of the entries. Both raise one of DAMAGE."""
    lines = _lines(file)
    return decode_header(next(lines, "")), (decode(line) for line in lines)


def find_in_manifest(
    file: IO[bytes], part: bytes, is_wanted: Callable[[bytes], bool]
) -> tuple[Header, Iterator[Entry]]:
    """As `read_manifest`, of the entries whose path is wanted alone. `part` is in each such path, which saves much."""
    common, lines = quoted(part), _lines(file)
    return decode_header(next(lines, "")), (
        decode(line) for line in lines if common in line and is_wanted(path_in(line))
    )


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Whoever wrote it: no more of it is in memory than a line may have. Raises ValueError for a longer one."""
    text = io.TextIOWrapper(gzip.GzipFile(fileobj=file), encoding="ascii", newline="\n")
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ValueError(f"a line is longer than the {LONGEST_LINE} characters that one of a manifest has at most")
        yield line


def sha256_of(path: Path | bytes) -> str:
    """The hash of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        buffer = memoryview(bytearray(1 << 20))
        while length := file.readinto(buffer):
            digest.update(buffer[:length])
    return digest.hexdigest()


def _write_lines(file: IO[bytes], header: Header, entries: Iterable[Entry], most: int) -> str:
    content, length = hashlib.sha256(), 0
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
        packed.write(encode_header(header).encode() + b"\n")
        for entry in entries:
            line = encode(entry).encode() + b"\n"
            if len(line) >= LONGEST_LINE:
                raise PermanentError(f"too large for a line of a manifest: exclude {printable(entry.path)}")
            content.update(line)
            packed.write(line)
            length += len(line)
            # To ask costs; what is not even so long before it is packed need not be asked.
            if length > most and file.tell() > most:
                raise PermanentError(
                    f"what there is to say of all entries takes more than {size(most)}: it needs fewer entries, or less"
                    " in their extended attributes"
                )
    return content.hexdigest()
