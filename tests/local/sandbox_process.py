"""A sandbox in a process of its own, for tests that kill it: says its endpoint, then serves until it dies."""

import sys
import threading
from pathlib import Path

from tests.local.sandbox_parts import a_sandbox

with a_sandbox(Path(sys.argv[1])) as sandbox:
    print(sandbox.endpoint, flush=True)
    threading.Event().wait()
