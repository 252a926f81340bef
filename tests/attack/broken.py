"""Started in place of the agent: once `broken` lies beside it, the gate of us0 finds a program of ours as rsync.

That lies in `bin`, and what it is read by in `shown`, which the walls show it beside the machine's libraries. All else,
and all of every other host, is as it is with the agent itself, in `agent`.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "agent"))

from ebbtide_agent import __main__ as agent  # noqa: E402 - it lies beside us
from ebbtide_agent.receiver import confine  # noqa: E402

if sys.argv[1:] == ["gate", "us0a"] and (HERE / "broken").exists():
    os.environ["PATH"] = f"{HERE / 'bin'}:{os.environ['PATH']}"
    confine.LIBRARIES = (*confine.LIBRARIES, *map(str, (HERE / "shown").iterdir()))

if __name__ == "__main__":
    sys.exit(agent.main())
