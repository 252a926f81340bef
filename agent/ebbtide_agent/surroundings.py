"""What the agent is started with, made good: streams that are closed, and a locale in which other names are meant."""

from __future__ import annotations

import os
import sys

_STANDARD = range(3)


def make_good() -> None:
    """Begin anew where it has to be otherwise; to be called before anything is opened or read.

    What is opened later would take the place of a stream that is closed. And lines that an operator writes are UTF-8,
    whatever the locale of whoever starts us: as another one they would name other files.
    """
    _open_what_is_closed()
    is_whole = None not in (sys.stdin, sys.stdout, sys.stderr)
    if sys.executable and not (is_whole and sys.getfilesystemencoding() == "utf-8"):
        os.execv(sys.executable, (sys.executable, "-X", "utf8", *sys.argv))


def _open_what_is_closed() -> None:
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
