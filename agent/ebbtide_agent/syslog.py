"""What the system's log is told: syslog's or journald's, whichever listens on its socket."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Callable

from ebbtide_agent.errors import AgentError
from ebbtide_agent.printable import printable

# How bad, and what: one line.
Log = Callable[[int, str], None]


def open_log(address: Path) -> Log:
    """A log at this socket; where nobody listens, one that is written to nowhere."""
    try:
        handler = _Quiet(str(address), SysLogHandler.LOG_DAEMON)
    except OSError:
        return lambda level, line: None
    handler.ident = f"ebbtide-agent[{os.getpid()}]: "

    def log(level: int, line: str) -> None:
        text = printable(line.encode("utf-8", "surrogateescape"))
        handler.emit(logging.LogRecord("", level, "", 0, text, None, None))

    return log


@contextlib.contextmanager
def telling(log: Log, what: str) -> Iterator[None]:
    """Tell that something begins, and if it comes to no good end, why."""
    log(logging.INFO, f"{what} begins")
    try:
        yield
    except AgentError as error:
        for line in str(error).splitlines():
            log(logging.ERROR, f"{what} failed: {line}")
        raise
    except BaseException as ending:
        log(logging.ERROR, f"{what} was ended: {ending!r}")
        raise


class _Quiet(SysLogHandler):
    """A log that goes away is no reason to have no backup."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass
