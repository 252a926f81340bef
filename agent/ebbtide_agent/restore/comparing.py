"""Comparing a restored tree with its manifest: here, or in a program that gives way to all else on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ebbtide_agent import procs
from ebbtide_agent.entry import Entry, Header, read_real
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import read_fake
from ebbtide_agent.manifest_file import read_manifest, sha256_of, write_manifest
from ebbtide_agent.restore.compare import Comparison, compare, shown
from ebbtide_agent.restore.layer import is_taken_for_a_layers
from ebbtide_agent.restore.recovery import FAKE_SUPER

NOTHING_COMPARED = Comparison(0, 0, 0, 0, 0, ())
# The last to get a core among its like, and to be read for where the disk's scheduler heeds that; what the image gets
# before all of this is its control group's (`boot_image`). It ends with whoever began it.
_GIVING_WAY = ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "19", "ionice", "-c", "idle")


@dataclass(frozen=True)
class Task:
    """A host's tree of one run, of which kind it is, and where its own manifest goes; what it should be, if known."""

    tree: str
    host_id: str
    run: str
    kind: str
    munged: bool
    expected: str | None
    found: str


def compared(task: Task) -> Comparison:
    """What is compared is what is archived: both sides as manifests. Raises OSError when the tree cannot be read."""
    unseen = Unseen()
    _write_found(task, unseen)
    if task.expected is None:
        return replace(NOTHING_COMPARED, unseen=unseen.finding())
    with open(task.expected, "rb") as before, open(task.found, "rb") as after:
        return replace(compare(read_manifest(before)[1], read_manifest(after)[1]), unseen=unseen.finding())


class Unseen:
    """What of a tree is not seen as it is where something lies over it, counted while it goes by."""

    def __init__(self) -> None:
        self._entries, self._first = 0, b""

    def watch(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if is_taken_for_a_layers(entry):
                self._entries, self._first = self._entries + 1, self._first or entry.path
            yield entry

    def finding(self) -> str | None:
        if not self._entries:
            return None
        return (
            f"not seen as they are by the image, which runs on an overlay: {self._entries} devices 0,0 or bearers of"
            f" trusted.overlay attributes, the first one {shown(self._first)}"
        )


def _write_found(task: Task, unseen: Unseen) -> None:
    is_recorded = task.kind == FAKE_SUPER
    header = Header(task.host_id, task.run, task.kind, is_recorded and task.munged)
    if is_recorded:
        entries = read_fake(Path(task.tree), task.munged, lambda where, _: sha256_of(where))
    else:
        entries = read_real(Path(task.tree), lambda where, _: sha256_of(where))
    write_manifest(Path(task.found), header, unseen.watch(entries))


def begin(task: Task) -> procs.Child:
    """This very module as a program; `outcome` waits for its end."""
    package = Path(__file__).parents[2]  # a directory, or the one file that the agent comes in
    program = ("env", f"PYTHONPATH={package}", sys.executable, "-m", "ebbtide_agent.restore.comparing")
    return procs.start_logged([*_GIVING_WAY, *program, json.dumps(asdict(task))], _log(task))


def outcome(comparing: procs.Child, task: Task) -> Comparison:
    """What it came to. Raises PermanentError when it came to no end."""
    code = procs.shell_code(comparing.wait())
    (*_, last) = _log(task).read_bytes().splitlines() or [b"it said nothing"]
    if code != 0:
        raise PermanentError(f"the comparison ended with exit code {code}: {shown(last)}")
    found: Mapping[str, Any] = json.loads(last)
    return Comparison(**{**found, "findings": tuple(found["findings"])})


def _log(task: Task) -> Path:
    return Path(f"{task.found}.log")


if __name__ == "__main__":
    print(json.dumps(asdict(compared(Task(**json.loads(sys.argv[1]))))))
