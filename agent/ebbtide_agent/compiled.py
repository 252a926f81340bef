"""A program that is one file, as Python starts it quickest: unpacked, and compiled once for every start.

Python compiles what it finds in a file like ours anew at each start: a quarter of a second of a processor, and a gate
is started three or four times for each host.
"""

from __future__ import annotations

import compileall
import shutil
import zipfile
import zlib
from pathlib import Path

from ebbtide_agent.errors import PermanentError


def place_of(program: Path, into: Path) -> Path:
    """Where `compiled` leaves it."""
    return into if zipfile.is_zipfile(program) else program


def compiled(program: Path, into: Path) -> Path:
    """What is to be started instead of `program`, made anew in the directory `into`; a package stays what it is.

    It is there whole or not at all. Made at each start, it need not outlast a crash. Raises PermanentError when the
    program is damaged.
    """
    if place_of(program, into) == program:
        return program
    making, before = into.with_name(f".{into.name}.new"), into.with_name(f".{into.name}.before")
    for left in (making, before):
        _remove(left)
    _unpack(program, making)
    # What is left of the version before could pass for this one's: by its time, or as a package before a module.
    if into.exists():
        into.rename(before)
    making.rename(into)
    _remove(before)
    return into


def _unpack(program: Path, into: Path) -> None:
    """Each file is compared with its checksum on the way."""
    try:
        with zipfile.ZipFile(program) as archive:
            archive.extractall(into)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise PermanentError(f"{program} is damaged: {error}; put it there anew") from error
    if not compileall.compile_dir(into, quiet=2):
        raise PermanentError(f"{program} cannot be compiled by this Python; put it there anew")


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
