"""What a volume knows of a host: the generation of its tree, and whether anything has touched the tree since."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.receiver.history import Held, parse_held
from ebbtide_agent.shapes import decode, encode, field

# Who may have been lost with a tree that they wrote to, and since when, where the volume does not say: anybody, ever.
ANYBODY, _EVER = "unknown", "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Status:
    """`settled` is false from the moment a push begins until its report is recorded; `complete` is true once a
    night was complete, and so there has to be a manifest of it. `boot` is that of the machine which has written to it
    `since` then, as long as not all of that is known to be on the disk. `uncompared` is the time that files got which a
    lost machine has written, in nanoseconds, until a night is complete; 0 for none. `nights` are the
    complete ones that its guard goes by, but for the last, of which the manifest tells.

    The generation is drawn, not counted: two volumes made from one snapshot must never come to the same one.
    """

    generation: int = 0
    settled: bool = False
    munged: bool = False
    run: str = ""
    complete: bool = False
    boot: str = ANYBODY
    since: str = _EVER
    uncompared: int = 0
    nights: tuple[Held, ...] = ()


def read_status(path: Path) -> Status:
    """A host that was never here has generation 0, unsettled.

    So has one of which the volume has lost what it knew, but for the doubt: there may have been complete nights.
    """
    what = str(path)
    try:
        # An earlier agent did not write all of it down.
        unknown = {"complete": False, "boot": ANYBODY, "since": _EVER, "uncompared": 0, "nights": []}
        values = {**unknown, **decode(what, path.read_bytes())}
        return Status(
            field(what, values, "generation", int),
            field(what, values, "settled", bool),
            field(what, values, "munged", bool),
            field(what, values, "run", str),
            field(what, values, "complete", bool),
            field(what, values, "boot", str),
            field(what, values, "since", str),
            field(what, values, "uncompared", int),
            tuple(parse_held(what, held) for held in field(what, values, "nights", list)),
        )
    except FileNotFoundError:
        return Status()
    except PermanentError:
        return Status(complete=True)


def forget_tree(path: Path) -> None:
    """Of what the tree is nothing is known any more, and the next push compares all of it; that there were complete
    nights is known, and what they held."""
    known = read_status(path)
    write_status(path, Status(complete=known.complete, nights=known.nights))


def write_status(path: Path, status: Status) -> None:
    """Raises OSError. Where one host has taken every inode there is none for a new file: the old one is written over.

    A crash in between leaves of it what cannot be read, and that is an unsettled tree.
    """
    body = encode(asdict(status))
    try:
        write_whole(path, body)
    except OSError as error:
        if error.errno != errno.ENOSPC or not path.exists():
            raise
        with path.open("r+b") as file:
            # In the blocks that it has: who gave them back might get none again.
            file.write(body)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
