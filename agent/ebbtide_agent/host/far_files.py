"""Small files on a machine that gives us rsync and nothing else: is it there, fetch it, put it there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.host.link import World, check_own_files, keep_trying, route, warning_of_another
from ebbtide_agent.host.login import Login
from ebbtide_agent.host.outcome import WORTH_ANOTHER_TRY, why
from ebbtide_agent.host.rsync import run_rsync

SILENCE_SECONDS = 60
# Nobody knows what lies over there; what we have put there is smaller than this.
_LARGEST = "4m"


@dataclass(frozen=True)
class FarFiles:
    """A directory over there. What is asked of it is asked until `until`.

    Raises TransientError when nobody answered by then, PermanentError when it will not work next time either.
    """

    login: Login
    path: str
    rsync: str
    world: World

    def route(self, attempt: int, name: str = "") -> tuple[str, ...]:
        """What rsync is told to get there, the place last. Raises TransientError while the name has no address."""
        return route(self.login, attempt, f":{self.path}/{name}")

    def has(self, name: str, until: datetime) -> bool:
        return keep_trying(lambda attempt: self._run("--list-only", *self.route(attempt, name)), until, self.world)

    def fetch(self, name: str, into: Path, until: datetime) -> bool:
        """Whether it is there and not too large to be ours; then it is in the file `into`."""
        into.unlink(missing_ok=True)
        words = ("--ignore-times", f"--max-size={_LARGEST}")
        keep_trying(lambda attempt: self._run(*words, *self.route(attempt, name), str(into)), until, self.world)
        return into.exists()

    def put(self, file: Path, until: datetime) -> None:
        """Have a file there under its own name, whole or not at all; makes the directory, but nothing above it."""

        def once(attempt: int) -> bool:
            *leading, place = self.route(attempt)
            return self._run("--ignore-times", *leading, str(file), place)

        if not keep_trying(once, until, self.world):
            raise PermanentError(f"{self.login.name}: what leads to {self.path} is not there; make it over there")

    def _run(self, *words: str) -> bool:
        """One rsync; False when something is not there."""
        ended = run_rsync((self.rsync, f"--timeout={SILENCE_SECONDS}", *words))
        if ended.exit_code == 0:
            return True
        told = f"rsync with {self.login.name}: {why(ended)}{warning_of_another(self.login, ended.err)}"
        if ended.exit_code in WORTH_ANOTHER_TRY:
            # Of an ssh that failed rsync may hear only that it is gone, which is a code of its own.
            check_own_files(self.login, ended.err)
            raise TransientError(told)
        if b"No such file or directory" in ended.err:
            return False
        raise PermanentError(told)
