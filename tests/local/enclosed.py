"""Helpers for tests of the sandbox's substrates: run a test in an enclosure, wait for real processes with a bound."""

import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebbtide_console.sandbox import probe
from ebbtide_console.sandbox.directories import Directories
from ebbtide_console.sandbox.enclosure import enclosed, enter_argv
from ebbtide_console.sandbox.namespaces import Namespaces
from ebbtide_console.sandbox.substrate import Substrate
from tests.local.forked import run_beside
from tests.local.processes import below

PATIENCE_SECONDS = 120.0
# Without these root may neither mount nor make devices or networks: what many containers are.
LESS = "-sys_admin,-net_admin,-mknod"
POWERLESS = ("setpriv", f"--bounding-set={LESS}", f"--inh-caps={LESS}") if os.geteuid() == 0 else ()


def in_an_enclosure(test: Callable[..., None], within: Sequence[str] = ()) -> Callable[..., None]:
    """Run this test alone, in an enclosure of its own; skip it, saying why, where the full substrate does not work.

    `within` is a command that runs the test's own, to change more of what it sees. Its fixtures are made outside.
    """

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        if enclosed():
            return test(*arguments, **named)
        why = verdict().why
        if why:
            pytest.skip(f"no full substrate here: {why}")
        with an_enclosure(within) as process:
            run_beside(process, functools.partial(test, *arguments, **named))
        return None

    return run


@contextmanager
def an_enclosure(within: Sequence[str]) -> Iterator[int]:
    """Its one process that waits for the end, by the number that it has here."""
    words = enter_argv([*within, "sh", "-c", "echo here; read -r nothing"])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outermost:
        assert outermost.stdout and outermost.stdout.readline() == b"here\n"
        yield below(outermost.pid)[-1]


def without_powers(test: Callable[..., None]) -> Callable[..., None]:
    """Run this test with the degraded substrate: alone, and as a root that may not mount, where root may."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        if not verdict().full:
            return test(*arguments, **named)
        run_alone(POWERLESS)
        return None

    return run


def run_alone(within: Sequence[str]) -> None:
    """The test that is running, once more, in a process that `within` has changed; a skip there is one here."""
    node = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
    again = [sys.executable, "-m", "pytest", "-q", "-x", "-rs", "-p", "no:xdist", "-p", "no:cacheprovider", node]
    ran = subprocess.run([*within, *again], capture_output=True, text=True)
    assert ran.returncode == 0, f"alone:\n{ran.stdout}{ran.stderr}"
    skipped = re.search(r"^SKIPPED .*?: (.*)", ran.stdout, re.MULTILINE)
    if skipped:
        pytest.skip(skipped[1])


on_a_loopback_of_its_own = functools.partial(
    in_an_enclosure, within=("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
)


@functools.cache
def verdict() -> probe.Verdict:
    return probe.probe()


@contextmanager
def a_substrate(kind: str, state: Path) -> Iterator[Substrate]:
    """A substrate that listens, closed in the end."""
    substrate: Substrate = Namespaces(state) if kind == "full" else Directories(state, "a test wants it")
    sockets = substrate.listen()
    try:
        yield substrate
    finally:
        substrate.close()
        for listening in sockets:
            listening.close()


@contextmanager
def a_copy_of_all_mounts() -> Iterator[None]:
    """In a namespace, as each session has one: whoever is in it and cannot be ended keeps them."""
    words = ["unshare", "--mount", "sh", "-c", "echo here; exec sleep 1d"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == b"here\n"
            yield
        finally:
            holder.kill()


def wait_until(condition: Callable[[], Any], what: str = "it") -> None:
    """Return once the condition holds; fail when it does not within two minutes."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < limit, f"{what} did not happen within {PATIENCE_SECONDS:.0f} s"
        time.sleep(0.02)


def processes_with(word: str) -> list[str]:
    """The command lines of all live processes that hold this word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found.append(line)
    return found
