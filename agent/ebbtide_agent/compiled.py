"""A program that is one file, as Python starts it quickest: unpacked, and compiled once for every start.

Python compiles what it finds in a file like ours anew at each start: a quarter of a second of a processor, and a gate
is started three or four times for each host.
"""

from __future__ import annotations

import compileall
import shutil
import zipfile
from pathlib import Path


def place_of(program: Path, into: Path) -> Path:
    """Where `compiled` leaves it."""
    return into if zipfile.is_zipfile(program) else program


def compiled(program: Path, into: Path) -> Path:
    """What is to be started instead of `program`, made anew in the directory `into`; a package stays what it is."""
    if place_of(program, into) == program:
        return program
    # A module of the version before could be in the way of a package of this one.
    shutil.rmtree(into, ignore_errors=True)
    with zipfile.ZipFile(program) as archive:
        archive.extractall(into)
    # By their times alone one that was there before could pass for a new one's.
    compileall.compile_dir(into, quiet=1, force=True)
    return into
