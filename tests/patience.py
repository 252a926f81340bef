"""What is for whoever has patience: a test that keeps processors busy for a minute, or shows little that others do not,
waits for `make long`.
"""

import os

import pytest

HAS_PATIENCE = bool(os.environ.get("EBBTIDE_LONG"))
for_make_long = pytest.mark.skipif(
    not HAS_PATIENCE, reason="keeps the processors busy for what it shows: `make long` runs it"
)
