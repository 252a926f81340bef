"""What a host may ask of a gate, to the letter; each gate says for itself what it does of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ebbtide_agent.errors import REFUSAL, Refused
from ebbtide_agent.report import MACHINE_DIGITS

HELLO = "hello"
REPORT = "report"
LIST = "list"
RSYNC = "rsync"
# Exactly what rsync asks its remote shell for, pushing to ADDRESS::tree/ or fetching from ADDRESS::POINT/. With the
# program's name a push may say from which machine it comes.
_RSYNC = rf"rsync(?: --machine=([0-9a-f]{{{MACHINE_DIGITS}}}))? --server --daemon \."
_GRAMMAR = re.compile(rf"({HELLO}|{REPORT}|{LIST})|{_RSYNC}")


@dataclass(frozen=True)
class Asked:
    """One verb, and which machine it is that asks, if it says so."""

    verb: str
    machine: str = ""


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What is refused in a block says so itself."""
    try:
        yield
    except Refused as error:
        raise Refused(f"{REFUSAL}{error}") from error


def parse_command(text: str | None) -> Asked:
    """What a host asked for. Raises Refused for anything that is not one of the verbs, to the letter."""
    asked = _GRAMMAR.fullmatch(text or "")
    if asked is None:
        what = repr(text)[:80] if text else "a shell"
        raise Refused(f"this key may say hello, list and report, and push or fetch with rsync; it asked for {what}")
    return Asked(asked[1] or RSYNC, asked[2] or "")
