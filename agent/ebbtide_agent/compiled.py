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
    if into.exists():
        # What is left of the version before could pass for this one's: by its time, or as a package before a module.
        shutil.rmtree(into)
    with zipfile.ZipFile(program) as archive:
        archive.extractall(into)
    compileall.compile_dir(into, quiet=1)
    return into
