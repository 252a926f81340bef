"""How a host's arrays are, as the kernel tells it, and what of that is a warning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent.report import WARNING, WELL, Health

_ARRAY = re.compile(r"^(?P<name>md\S*) : (?P<state>[a-z]+)\b")
_PARITY = re.compile(r" raid[456] ")
_MEMBERS = re.compile(r"\[(?P<wanted>\d+)/(?P<there>\d+)\] \[[U_]+\]")
_FAILED = re.compile(r"(\S+)\[\d+\](?:\([A-Z]\))*\(F\)")
_PROGRESS = re.compile(r"(?P<what>recovery|resync|reshape|check|repair) *= *(?P<percent>[0-9.]+%)")
_PROGRESS_LATER = re.compile(r"(?P<what>recovery|resync|reshape|check|repair) *= *(?P<why>PENDING|DELAYED|REMOTE)")
# What the firmware of a RAID controller keeps its arrays in: it does nothing by itself.
_CONTAINER = re.compile(r"super external:[^/]")


def arrays(mdstat: str, blocks: Path) -> Iterator[Health]:
    """What the kernel says of its arrays in /proc/mdstat: a paragraph for each; and what their last check has found."""
    for paragraph in re.split(r"\n(?=\S)", mdstat):
        first, _, rest = paragraph.partition("\n")
        array = _ARRAY.match(first)
        if array:
            found = text_of(blocks / array["name"] / "md/mismatch_cnt").strip()
            yield _array(array["name"], array["state"], first, rest, int(found) if found.isdecimal() else 0)


def _array(name: str, state: str, first: str, rest: str, mismatches: int) -> Health:
    said = [f"{member} failed" for member in _FAILED.findall(first)]
    members = _MEMBERS.search(rest)
    if members and int(members["there"]) < int(members["wanted"]):
        said.insert(0, f"degraded: {members['there']} of {members['wanted']} members are there")
    if state != "active" and not _CONTAINER.search(rest):
        said.insert(0, state)
    # Mirrors differ where a page was written while it was changed, swap for one: nothing reads that again.
    if mismatches and _PARITY.search(first):
        said.append(f"{mismatches} sectors do not fit their parity")
    is_well = not said
    progress = _PROGRESS.search(rest) or _PROGRESS_LATER.search(rest)
    if progress:
        said.append(f"{progress[1]} {progress[2].lower()}")
    return Health(f"array {name}", WELL if is_well else WARNING, ", ".join(said) or "all members are there")


def text_of(path: Path) -> str:
    """What the kernel says there; nothing where it has no arrays."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
