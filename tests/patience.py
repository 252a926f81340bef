"""What is for whoever has patience: a test that keeps both processors busy for a minute waits for `make long`."""

import os

import pytest

HAS_PATIENCE = bool(os.environ.get("EBBTIDE_LONG"))
for_make_long = pytest.mark.skipif(
    not HAS_PATIENCE, reason="keeps both processors busy for a minute: `make long` runs it"
)
