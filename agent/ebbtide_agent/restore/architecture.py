"""Which machine a program was built for, by its ELF header, and whether this one can run it."""

from __future__ import annotations

from pathlib import Path

_NAMES = {3: "i386", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
# What a machine runs beside its own.
_ALSO = {62: (3,), 183: (40,)}
_HEADER_BYTES = 20


def why_not_here(program: Path, of_ours: Path = Path("/proc/self/exe")) -> str | None:
    """Why this machine, which runs `of_ours`, cannot run a program; None when it can, or when nobody can tell."""
    theirs, ours = _machine(program), _machine(of_ours)
    if theirs is None or ours is None or theirs == ours or theirs in _ALSO.get(ours, ()):
        return None
    return f"the image is of {_name(theirs)}, and this machine runs {_name(ours)}"


def _machine(program: Path) -> int | None:
    """e_machine (elf(5)); None when it is no ELF."""
    try:
        with program.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return None
    if len(header) < _HEADER_BYTES or not header.startswith(b"\x7fELF"):
        return None
    return int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")


def _name(machine: int) -> str:
    return _NAMES.get(machine, f"ELF machine {machine}")
