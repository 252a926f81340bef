"""Whose a state directory is: one sandbox holds it at a time, until its process ends, however it ends."""

import fcntl
from pathlib import Path

from chalicelib.errors import ConfigError, Refused


class Claim:
    """A sandbox's hold on its state directory. Raises ConfigError when that is another user's."""

    def __init__(self, state: Path) -> None:
        self._state = state
        try:
            self._file = (state / "lock").open("w")
        except OSError as error:
            raise ConfigError(
                (f"{state} cannot be used: {error.strerror}; name another place with --state",)
            ) from error

    def take(self) -> None:
        """Raises Refused when another sandbox holds it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"another sandbox is running on {self._state}: stop it, or choose another directory"
            ) from None

    def let_go(self) -> None:
        self._file.close()


def is_claimed(state: Path) -> bool:
    """Whether a sandbox is running on this directory."""
    if not (state / "lock").exists():
        return False
    claim = Claim(state)
    try:
        claim.take()
    except Refused:
        return True
    finally:
        claim.let_go()
    return False
