"""What a volume knows of a host: the generation of its tree, and whether anything has touched the tree since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.files import write_whole
from ebbtide_agent.shapes import decode, encode, field


@dataclass(frozen=True)
class Status:
    """`settled` is false from the moment a push begins until its report is recorded.

    The generation is drawn, not counted: two volumes made from one snapshot must never come to the same one.
    """

    generation: int = 0
    settled: bool = False
    munged: bool = False
    run: str = ""


def read_status(path: Path) -> Status:
    """A host that was never here has generation 0, unsettled."""
    what = str(path)
    try:
        values = decode(what, path.read_bytes())
    except FileNotFoundError:
        return Status()
    return Status(
        field(what, values, "generation", int),
        field(what, values, "settled", bool),
        field(what, values, "munged", bool),
        field(what, values, "run", str),
    )


def write_status(path: Path, status: Status) -> None:
    write_whole(path, encode(vars(status)))
