"""A directory of dated snapshots: what is made beside them becomes the newest one, and the oldest go after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Callable

from ebbtide_agent import procs, snapshots
from ebbtide_agent.errors import AgentError, PermanentError
from ebbtide_agent.files import sync_directory, write_whole
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import DirectoryPaths
from ebbtide_agent.report import Report, encode_report
from ebbtide_agent.stillness import STILL_SECONDS


@dataclass(frozen=True)
class Rotation:
    """The snapshots of one host in one directory. `sync` has all of that on its disk, or raises AgentError."""

    store: DirectoryPaths
    clock: Clock
    say: Callable[[str], None]
    sync: Callable[[], None]

    def complete(self) -> tuple[str, ...]:
        """The names of those that are whole, the oldest first."""
        return whole_in(self.store)

    def seal(self, record: Report) -> str:
        """From here on what was made is a snapshot, whatever happens: durable first, then named. Returns its name.

        Raises PermanentError when no tree was made.
        """
        if not self.store.making.is_dir():
            raise PermanentError(f"{self.store.making} is not there: somebody else has taken it away")
        write_whole(self.store.making_report, encode_report(record))
        self.sync()
        name = snapshots.name_next(self.clock(), names_in(self.store))
        self.store.incomplete.rename(self.store.snapshot(name))
        sync_directory(self.store.path)
        self.say(f"snapshot {self.store.snapshot(name)}")
        return name

    def date_anew(self, latest: datetime) -> None:
        """Nothing would ever be newer than what a clock that was far ahead has named: that is dated before `latest`.

        The oldest first, so that their order is the same wherever it ends. What is less than a day ahead stays.
        """
        for name, right in snapshots.date_anew(names_in(self.store), latest):
            self.store.snapshot(name).rename(self.store.snapshot(right))
            sync_directory(self.store.path)
            self.say(f"snapshot {name} is called {right} from now on: its time has not come yet")

    def let_go(self, names: Iterable[str], why: str) -> None:
        """A snapshot that goes loses its name first: half of one must never be taken for a whole."""
        for name in names:
            try:
                self.store.expired.mkdir(exist_ok=True, mode=0o700)
                self.store.snapshot(name).rename(self.store.expired / name)
                sync_directory(self.store.path)
                remove(self.store.expired)
                self.say(f"snapshot {name} has expired: {why}")
            except (OSError, AgentError) as error:
                self.say(f"snapshot {name} has expired and could not be removed: {error}")


def names_in(store: DirectoryPaths) -> tuple[str, ...]:
    """The names of snapshots that a directory has, whole or not, the oldest first."""
    return snapshots.find(path.name for path in store.path.iterdir() if path.is_dir())


def whole_in(store: DirectoryPaths) -> tuple[str, ...]:
    """Those of a directory's snapshots that have their tree and their report, the oldest first."""
    return tuple(name for name in names_in(store) if store.tree(name).is_dir() and store.report(name).is_file())


def broken_in(store: DirectoryPaths) -> tuple[str, ...]:
    """Those that lack the one or the other: none of them is anything to restore from."""
    whole = whole_in(store)
    return tuple(name for name in names_in(store) if name not in whole)


def remove(path: Path) -> None:
    """Not there is success. Raises PermanentError."""
    procs.check(("rm", "-rf", "--one-file-system", "--", str(path)), still_seconds=STILL_SECONDS)
