"""Control groups for tests, which leave none behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.local.receiver_machine import wait_until


@contextmanager
def a_group_in(hierarchy: Path) -> Iterator[Path]:
    """One that whoever is put into it may divide as they like; they have to be gone soon after the block."""
    group = hierarchy / f"test-of-ebbtide-{os.urandom(8).hex()}"
    group.mkdir()
    try:
        yield group
    finally:
        wait_until(lambda: _removed(group), f"{group} to be empty")


def _removed(group: Path) -> bool:
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            return False  # its last processes are still going
    return True
