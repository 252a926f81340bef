"""What lies over a restored tree in place of some of it, as a tar that becomes a layer of an overlay."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from ebbtide_agent.entry import Entry, read_xattrs
from ebbtide_agent.pax import pax_headers
from ebbtide_agent.walk import Found

# Attributes that overlayfs, mounted by root, reads as words to itself, and shows nobody.
_OVERLAYS_OWN = "trusted.overlay."


def layer_of(tree: Path, over: Mapping[str, bytes | None]) -> bytes:
    """The tar of it. `over` has paths, and the content of the file that is there then; None for nothing.

    Nothing is what overlayfs takes for that: a device 0, 0. Directories are as they are in the tree, in place of which
    they are seen; each has to be within it, or not to be there at all.
    """
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as layer:
        directories = {above for path in over for above in _above(path)}
        # A directory, all that is in it, and nothing else in between: tar sets its time when it leaves it.
        for path in sorted({*directories, *over}, key=lambda path: PurePosixPath(path).parts):
            if path in directories:
                layer.addfile(_as_it_is(tree / path, path))
            else:
                layer.addfile(_in_place_of(path, over[path]), io.BytesIO(over[path] or b""))
    return written.getvalue()


def is_taken_for_a_layers(entry: Entry) -> bool:
    """Whether an entry of a tree is not seen as it is where something lies over it: what another overlay has in its
    layers is taken for this one's. Docker keeps such."""
    is_nothing = entry.kind == "c" and entry.rdev == (0, 0)
    return is_nothing or any(name.startswith(_OVERLAYS_OWN) for name in entry.xattrs)


def is_within(tree: Path, directory: str | PurePosixPath) -> bool:
    """Whether it is there, by no link: one may lead out of the tree, and must not be lain over."""
    return all(_is(stat.S_ISDIR, tree / each) for each in (directory, *_above(directory)))


def is_file(path: Path) -> bool:
    """Whether it is a file itself, and no link to one."""
    return _is(stat.S_ISREG, path)


def _is(such: Callable[[int], bool], path: Path) -> bool:
    try:
        return such(os.lstat(path).st_mode)
    except OSError:
        return False


def _above(path: str | PurePosixPath) -> Iterator[str]:
    """The directories that a path leads through."""
    return (str(above) for above in PurePosixPath(path).parents if above.name)


def _as_it_is(directory: Path, path: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    if not os.path.lexists(directory):
        return member
    found = os.lstat(directory)
    member.mode = stat.S_IMODE(found.st_mode)
    member.uid, member.gid = found.st_uid, found.st_gid
    xattrs = read_xattrs(Found(os.fsencode(path), os.fsencode(directory), found, None))
    seen = {name: value for name, value in xattrs.items() if not name.startswith(_OVERLAYS_OWN)}
    member.pax_headers = pax_headers(found.st_mtime_ns, seen)
    return member


def _in_place_of(path: str, content: bytes | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    if content is None:
        member.type = tarfile.CHRTYPE
    else:
        member.size = len(content)
    return member
