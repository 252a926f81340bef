"""What is for whoever has patience: a test that keeps both processors busy for a minute waits for `make long`."""

import os

import pytest

for_make_long = pytest.mark.skipif(
    not os.environ.get("EBBTIDE_LONG"), reason="keeps both processors busy for a minute: `make long` runs it"
)
