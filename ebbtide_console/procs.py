"""The console's one door to other programs: every process it starts is started here."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from chalicelib.errors import PermanentError

PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
DEVNULL = subprocess.DEVNULL

Process = subprocess.Popen[bytes]
Stream = int | IO[bytes] | None


def capture(
    argv: Sequence[str], feed: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and output; a program that is not there is exit code 127."""
    try:
        return subprocess.run(argv, input=feed, capture_output=True, text=True, errors="replace", env=environment)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]}: not installed")


def check(argv: Sequence[str], feed: str = "") -> str:
    """Run a program that must succeed and return what it printed; PermanentError with what it said otherwise."""
    ended = capture(argv, feed)
    if ended.returncode != 0:
        said = "; ".join((ended.stderr.strip() or ended.stdout.strip() or "it said nothing").splitlines())
        raise PermanentError(f"{' '.join(argv)} ended with exit code {ended.returncode}: {said}")
    return ended.stdout


def start(
    argv: Sequence[str],
    stdin: Stream = DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Process:
    """Start a program in a session of its own (the operator's Ctrl-C is ours to handle) and return it running."""
    return subprocess.Popen(
        argv, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, pass_fds=descriptors, start_new_session=True
    )


def last_line(log: Path) -> str:
    """The last thing that a program said into its log, for a message."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def remove_tree(path: Path) -> None:
    """Remove a tree, also where directories deny their owner; absent is success. Never crosses a mount."""
    if capture(("rm", "-rf", "--one-file-system", "--", str(path))).returncode == 0:
        return
    capture(("chmod", "-R", "u+rwX", "--", str(path)))
    check(("rm", "-rf", "--one-file-system", "--", str(path)))
