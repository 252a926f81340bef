"""Which processes there are on this machine, and what they are called."""

from contextlib import suppress
from pathlib import Path


def below(pid: int) -> list[int]:
    """The processes that one has started, and theirs; none of one that goes away meanwhile."""
    children: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for started in Path(f"/proc/{pid}/task").glob("*/children"):
            children += map(int, started.read_text().split())
    return [*children, *(grandchild for child in children for grandchild in below(child))]


def name_of(pid: int) -> str:
    """What a process is called; nothing, if it has gone away."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
