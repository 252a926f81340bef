"""What builds and packages: run as `python -m tools.NAME` from the root; the agent's package is found beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agent"))
