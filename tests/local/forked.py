"""A test in a copy of this process that sees what another one does: to start pytest once more takes a hundred times as
long as to copy what it has loaded.
"""

import ctypes
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

import pytest

from tests.local.programs import a_place

NAMESPACES = ("net", "uts", "ipc", "mnt", "pid")
PASSED, FAILED, SKIPPED = range(3)

_libc = ctypes.CDLL(None, use_errno=True)


def run_beside(process: int, test: Callable[[], None]) -> None:
    """The test, in the namespaces of another process; a failure or a skip there is one here."""
    a_place()  # a copy that makes it would take nothing away
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile("w+") as told:
        copy = os.fork() or _in_its_namespaces(process, lambda: _run(test, told))
        code = _exit_code_of(copy)
        told.seek(0)
        why = told.read()
    if code == SKIPPED:
        pytest.skip(why)
    if code != PASSED:
        pytest.fail(why or f"its process ended with {code}", pytrace=False)


def _run(test: Callable[[], None], told: TextIO) -> int:
    failure = pytest.CallInfo.from_call(test, "call").excinfo
    if failure is None:
        return PASSED
    skipped = isinstance(failure.value, pytest.skip.Exception)
    print(failure.value.msg if skipped else failure.getrepr(), end="", file=told, flush=True)
    return SKIPPED if skipped else FAILED


def _in_its_namespaces(process: int, run: Callable[[], int]) -> NoReturn:
    """The end of this copy. Only what it starts is in another namespace of processes: a copy of its own."""
    code = FAILED
    try:
        _enter(process)
        copy = os.fork()
        code = _exit_code_of(copy) if copy else run()
    except OSError:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _enter(process: int) -> None:
    here = Path.cwd()
    for namespace in [os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY) for name in NAMESPACES]:
        if _libc.setns(namespace, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(namespace)
    os.chdir(here)


def _exit_code_of(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
