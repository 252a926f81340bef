"""What tests of several files reach over there."""

from collections.abc import Iterator

import pytest

from tests.local.rsync_only import FarSide, a_far_side


@pytest.fixture(scope="module")
def far() -> Iterator[FarSide]:
    """A machine that gives us rsync and nothing else; each file has its own."""
    with a_far_side() as far:
        yield far
