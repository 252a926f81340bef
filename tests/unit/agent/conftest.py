"""What every test of the agent's parts begins and ends with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _back_where_we_were() -> Iterator[None]:
    """A scan leaves its process in the directory that it was in last."""
    here = Path.cwd()
    yield
    os.chdir(here)
