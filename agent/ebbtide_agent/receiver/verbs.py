"""What a host may ask of a gate, to the letter; each gate says for itself what it does of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ebbtide_agent.errors import REFUSAL, Refused

HELLO = "hello"
REPORT = "report"
LIST = "list"
RSYNC = "rsync"
# Exactly what rsync asks its remote shell for, pushing to ADDRESS::tree/ or fetching from ADDRESS::POINT/.
_GRAMMAR = {HELLO: HELLO, REPORT: REPORT, LIST: LIST, "rsync --server --daemon .": RSYNC}


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What is refused in a block says so itself."""
    try:
        yield
    except Refused as error:
        raise Refused(f"{REFUSAL}{error}") from error


def parse_command(text: str | None) -> str:
    """The verb that a host asked for. Raises Refused for anything that is not one of them, to the letter."""
    verb = _GRAMMAR.get(text or "")
    if verb is None:
        asked = repr(text)[:80] if text else "a shell"
        raise Refused(f"this key may say hello, list and report, and push or fetch with rsync; it asked for {asked}")
    return verb
