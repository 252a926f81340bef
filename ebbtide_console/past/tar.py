"""A directory as a tar that has all of it, whoever makes it: attributes from the manifest, contents from here."""

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ebbtide_agent.entry import Entry
from ebbtide_agent.pax import pax_headers
from ebbtide_console.past.sparse import as_sparse

_TYPES = {
    "f": tarfile.REGTYPE,
    "d": tarfile.DIRTYPE,
    "l": tarfile.SYMTYPE,
    "c": tarfile.CHRTYPE,
    "b": tarfile.BLKTYPE,
    "p": tarfile.FIFOTYPE,
}


def write_tar(entries: Sequence[Entry], into: Path, file: IO[bytes]) -> int:
    """Pax, as GNU tar reads it, below the last part of the first path; how many sockets were left out, for no tar has
    any. `into` is where the contents are, below their whole paths."""
    above = entries[0].path.rpartition(b"/")[0]
    first_names: dict[bytes, str] = {}
    sockets = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for entry in sorted(entries, key=_place):
            if entry.kind not in _TYPES:
                sockets += 1
                continue
            name = os.fsdecode(entry.path[len(above) + 1 :] if above else entry.path)
            member = _member(entry, name, first_names)
            if member.isreg():
                with open(into / os.fsdecode(entry.path), "rb") as content:
                    tar.addfile(member, as_sparse(member, content) or content)
            else:
                tar.addfile(member)
    return sockets


def _place(entry: Entry) -> list[bytes]:
    """A directory before all that is in it, and nothing else in between: tar sets its time when it leaves it."""
    return entry.path.split(b"/")


def _member(entry: Entry, name: str, first_names: dict[bytes, str]) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
    member.pax_headers = pax_headers(entry.mtime_ns, entry.xattrs)
    if entry.group is not None and entry.group in first_names:
        member.type, member.linkname = tarfile.LNKTYPE, first_names[entry.group]
        return member
    if entry.group is not None:
        first_names[entry.group] = name
    member.type = _TYPES[entry.kind]
    member.size = entry.size if entry.kind == "f" else 0
    member.linkname = os.fsdecode(entry.link) if entry.link is not None else ""
    member.devmajor, member.devminor = entry.rdev or (0, 0)
    return member
