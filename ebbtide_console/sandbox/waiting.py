"""Waiting for what happens elsewhere in the sandbox: looked for again and again, and not for ever."""

import time
from collections.abc import Callable
from typing import TypeVar

from chalicelib.errors import PermanentError
from ebbtide_console.sandbox.table import seconds

PATIENCE_SECONDS = 900.0
LOOK_EVERY_SECONDS = 0.2

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None]) -> T:
    """What `look` finds, as soon as it does. Raises PermanentError when it never does."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < limit:
        found = look()
        if found is not None:
            return found
        time.sleep(LOOK_EVERY_SECONDS)
    raise PermanentError(f"waited {seconds(PATIENCE_SECONDS)} for {what}; handlers.log and machines/ say more")
