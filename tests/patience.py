"""What is for whoever has patience: what keeps both processors busy for a minute, or shows in one more way what another
test shows, waits for `make long`.
"""

import os

import pytest

HAS_PATIENCE = bool(os.environ.get("EBBTIDE_LONG"))
for_make_long = pytest.mark.skipif(not HAS_PATIENCE, reason="for whoever has patience: `make long` runs it")
