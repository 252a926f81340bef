"""Started in place of a gate: it puts the walls up around a program of ours instead of rsync, and adds what that needs.

Its words: the kind of walls, a user id, the tree, then the interpreter, the program and the program's words. Whoever
holds `held` in the tree once the session is over, as a gate would see it, is an error.
"""

import fcntl
import sys
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.receiver import confine, gate, orphans
from ebbtide_agent.receiver.view import View


def main(kind: str, uid: str, tree: str, interpreter: str, program: str, *words: str) -> int:
    procs.stop_on(*gate.ENDING)
    view = View(int(uid), tree=Path(tree))
    files = confine.open_files(kind, view, Path(tree).parent / "rsyncd.conf")
    walls = list(confine.command(kind, view, files))
    del walls[len(walls) - walls[::-1].index("--") :]
    shut = walls.index("--ro-bind-data")
    prefix = str(Path(interpreter).parents[1])
    shown = ["--ro-bind", program, "/inside.py", "--ro-bind", interpreter, interpreter]
    shown += [] if prefix == "/usr" else ["--ro-bind", prefix, prefix]
    walls[shut:shut] = shown
    code = orphans.run_to_the_last((*walls, interpreter, "-I", "-B", "/inside.py", *words), files.descriptors)
    held = Path(tree, "held")
    if held.exists():
        with held.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
