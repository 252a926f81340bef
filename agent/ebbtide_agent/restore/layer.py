"""What lies over a restored tree in place of some of it, as a tar that becomes a layer of an overlay."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath


def layer_of(tree: Path, over: Mapping[str, bytes | None]) -> bytes:
    """The tar of it. `over` has paths, and the content of the file that is there then; None for nothing.

    Nothing is what overlayfs takes for that: a device 0, 0. Directories are as they are in the tree; each has to be
    within it.
    """
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as layer:
        for directory in sorted({above for path in over for above in _above(path)}):
            layer.addfile(_as_it_is(tree / directory, directory))
        for path, content in over.items():
            layer.addfile(_in_place_of(path, content), io.BytesIO(content or b""))
    return written.getvalue()


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
    found, member = os.lstat(directory), tarfile.TarInfo(path)
    member.type, member.mode = tarfile.DIRTYPE, stat.S_IMODE(found.st_mode)
    member.uid, member.gid, member.mtime = found.st_uid, found.st_gid, int(found.st_mtime)
    return member


def _in_place_of(path: str, content: bytes | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    if content is None:
        member.type = tarfile.CHRTYPE
    else:
        member.size = len(content)
    return member
