"""What tests of several files reach over there, or boot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide_agent.host import changes
from tests.debian import a_server
from tests.local.edits import LARGE_BYTES
from tests.local.rsync_only import FarSide, a_far_side


@pytest.fixture(scope="module", autouse=True)
def large_files_of_a_megabyte() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(changes, "LARGE_BYTES", LARGE_BYTES)
        yield


@pytest.fixture(scope="module")
def far() -> Iterator[FarSide]:
    """A machine that gives us rsync and nothing else; each file has its own."""
    with a_far_side() as far:
        yield far


@pytest.fixture
def image() -> Path:
    """A server's tree, made before the test is in a network of its own, where no mirror is."""
    return a_server()
