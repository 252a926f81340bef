"""One entry of a tree with every kind of metadata, read from a real tree, and as one line of a manifest."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.printable import printable, size
from ebbtide_agent.walk import Found, walk

SCHEMA = 1
KINDS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}

# Printable ASCII stays readable; the rest, the escape itself, and what JSON would have to escape become %XX.
_SAFE = "".join(chr(byte) for byte in range(0x21, 0x7F) if chr(byte) not in '%"\\')

_BEGINNING = f'{{"v":{SCHEMA},"p":"'

# Of one entry, all values together. In base64, with the names (64 KiB by the kernel), they fit a manifest's line.
MOST_ATTRIBUTES = 8 << 20

# Given an entry's place on this machine and its record so far, the sha256 of its content, or None if it has none.
Hasher = Callable[[bytes, "Entry"], "str | None"]


@dataclass(frozen=True)
class Entry:
    """One name in a tree.

    `size` is a file's length, a symlink's target's length, and 0 for the rest, as it depends on the file system.
    `xattrs` holds ACLs in the kernel's form and capabilities too. `group` is the first name of its hard links, if
    there are several. `store` is the inode and its change time, which say whether a hash can be carried forward.
    """

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    link: bytes | None = None
    rdev: tuple[int, int] | None = None
    group: bytes | None = None
    sha256: str | None = None
    store: tuple[int, int] | None = None


@dataclass(frozen=True)
class Header:
    """A manifest's first line: whose tree, of which run, how it is kept, and whether its symlinks are munged.

    `nonce` is the run's, if it has one: with it the report can be named that the manifest belongs to.
    """

    host: str
    run: str
    tree: str
    munged: bool = False
    nonce: str = ""


def read_real(root: Path, hasher: Hasher | None = None) -> Iterator[Entry]:
    """Every entry of a tree that keeps owners, modes and devices as themselves, sorted by path bytes."""
    for found in walk(root):
        entry = real_entry(found)
        yield with_hash(entry, found.where, hasher)


def real_entry(found: Found) -> Entry:
    """What the file system says of one entry."""
    status = found.stat
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    link = os.readlink(found.where) if kind == "l" else None  # noqa: PTH115 - paths are bytes
    return Entry(
        path=found.path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=size_of(kind, status.st_size, link),
        mtime_ns=status.st_mtime_ns,
        xattrs=read_xattrs(found),
        link=link,
        rdev=(os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in "cb" else None,
        group=found.group,
    )


def read_xattrs(found: Found) -> dict[str, bytes]:
    """Every extended attribute of an entry, in the order of their names.

    Raises PermanentError when they are too large for a manifest, before more of them is in memory.
    """
    read: dict[str, bytes] = {}
    room = MOST_ATTRIBUTES
    for name in sorted(os.listxattr(found.where, follow_symlinks=False)):
        read[name] = os.getxattr(found.where, name, follow_symlinks=False)
        room -= len(read[name])
        if room < 0:
            raise PermanentError(
                f"one entry's extended attributes are more than {size(MOST_ATTRIBUTES)} together, the most that is"
                f" backed up: remove those that nobody needs, or exclude {printable(found.path)}"
            )
    return read


def size_of(kind: str, length: int, link: bytes | None) -> int:
    """The size that means the same on every file system."""
    if link is not None:
        return len(link)
    return length if kind == "f" else 0


def with_hash(entry: Entry, where: bytes, hasher: Hasher | None) -> Entry:
    """The entry with its content's hash, if it is a regular file and someone hashes."""
    if hasher is None or entry.kind != "f":
        return entry
    return replace(entry, sha256=hasher(where, entry))


def quoted(raw: bytes) -> str:
    """Bytes as printable ASCII, percent-encoded."""
    return quote_from_bytes(raw, safe=_SAFE)


def encode_header(header: Header) -> str:
    """A manifest's first line."""
    record: dict[str, Any] = {"schema": SCHEMA, "host": header.host, "run": header.run, "tree": header.tree}
    if header.munged:
        record["munged"] = True
    if header.nonce:
        record["nonce"] = header.nonce
    return _line(record)


def decode_header(line: str) -> Header:
    """Raises ValueError when this program cannot read such a manifest."""
    record = json.loads(line)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"not a manifest of schema {SCHEMA}: {line[:80]!r}")
    try:
        said = (record["host"], record["run"], record["tree"])
        return Header(*said, record.get("munged", False), record.get("nonce", ""))
    except KeyError as missing:
        raise ValueError(f"a manifest's header lacks {missing}") from None


def encode(entry: Entry) -> str:
    """One line of a manifest, without its newline. What an entry does not have is left out."""
    record: dict[str, Any] = {
        "v": SCHEMA,
        "p": quoted(entry.path),
        "t": entry.kind,
        "m": f"{entry.mode:o}",
        "u": entry.uid,
        "g": entry.gid,
        "size": entry.size,
        "mtime": entry.mtime_ns,
    }
    if entry.xattrs:
        record["x"] = {
            quoted(os.fsencode(name)): base64.b64encode(value).decode() for name, value in entry.xattrs.items()
        }
    if entry.link is not None:
        record["link"] = quoted(entry.link)
    if entry.rdev is not None:
        record["rdev"] = entry.rdev
    if entry.group is not None:
        record["group"] = quoted(entry.group)
    if entry.sha256 is not None:
        record["sha256"] = entry.sha256
    if entry.store is not None:
        record["store"] = entry.store
    return _line(record)


def path_in(line: str) -> bytes:
    """The path of one line of a manifest, without reading the rest: `encode` writes it first, and no quote is in it.

    Raises ValueError as `decode` does.
    """
    if not line.startswith(_BEGINNING):
        return decode(line).path
    return unquote_to_bytes(line[len(_BEGINNING) : line.index('"', len(_BEGINNING))])


def decode(line: str) -> Entry:
    """Raises ValueError, showing the line, when it is not a record that this program can read."""
    try:
        return _decoded(json.loads(line))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as fault:
        raise ValueError(f"not a record of a manifest ({fault!r}): {line[:200]!r}") from None


def _decoded(record: Mapping[str, Any]) -> Entry:
    if record["v"] != SCHEMA:
        raise ValueError(f"record version {record['v']!r}, expected {SCHEMA}")
    if record["t"] not in KINDS.values():
        raise ValueError(f"unknown kind {record['t']!r}")
    return Entry(
        path=unquote_to_bytes(record["p"]),
        kind=record["t"],
        mode=int(record["m"], 8),
        uid=int(record["u"]),
        gid=int(record["g"]),
        size=int(record["size"]),
        mtime_ns=int(record["mtime"]),
        xattrs={_name(name): base64.b64decode(value, validate=True) for name, value in record.get("x", {}).items()},
        link=unquote_to_bytes(record["link"]) if "link" in record else None,
        rdev=_pair(record["rdev"]) if "rdev" in record else None,
        group=unquote_to_bytes(record["group"]) if "group" in record else None,
        sha256=record.get("sha256"),
        store=_pair(record["store"]) if "store" in record else None,
    )


def _name(quoted_name: str) -> str:
    return os.fsdecode(unquote_to_bytes(quoted_name))


def _pair(values: list[Any]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"))
