"""The snapshots of a guest: after each complete report one of its tree, and the oldest go after it.

Whether one is due is seen from what there is: the tree's last complete report, and the snapshots. Until it is made
nobody touches the tree, so whatever kills us in between, the next look goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from ebbtide_agent import snapshots
from ebbtide_agent.errors import AgentError, TransientError
from ebbtide_agent.files import write_whole
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.copying import Copy, copy
from ebbtide_agent.peer.night import find_night
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.peer.shelf import Shelf
from ebbtide_agent.receiver.lease import leased
from ebbtide_agent.report import Report, parse_report
from ebbtide_agent.rotation import Rotation, remove


def shelf_of(paths: PeerPaths, guest: Guest) -> Shelf:
    return Shelf(paths.archive(guest.id), paths.told)


@dataclass(frozen=True)
class Keeper:
    """Makes the snapshots of one guest."""

    paths: PeerPaths
    guest: Guest
    clock: Clock
    say: Callable[[str], None]
    is_over: Callable[[], bool] = lambda: False

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.paths.snapshots(self.guest.id), self.clock, self.say)

    def find_due(self) -> Report | None:
        """The complete report of a tree that is in no snapshot yet."""
        night = find_night(self.paths.night(self.guest.id))
        report = night and shelf_of(self.paths, self.guest).find_report(night.run, self.guest.id)
        if not report or not report.is_complete:
            return None
        newest = self.rotation.complete()[-1:]
        return None if any(self._run_of(name) == report.run for name in newest) else report

    def find_trouble(self) -> str | None:
        """Why the one that is due could not be made the last time it was tried."""
        try:
            return self.paths.trouble(self.guest.id).read_text().strip()
        except FileNotFoundError:
            return None

    def keep(self) -> bool:
        """Make the snapshot that is due, if one is; False when it could not be made and somebody has to make room.

        Raises TransientError while a session of the guest is under way, or when it is told to stop.
        """
        if self.find_due() is None:
            return True
        try:
            with leased(self.paths, self.guest.id):
                self._make()
        except TransientError:
            raise
        except (OSError, AgentError) as error:
            remove(self.rotation.store.incomplete)
            self.say(f"no snapshot of {self.guest.name}: {error}")
            write_whole(self.paths.trouble(self.guest.id), str(error).encode())
            return False
        self.paths.trouble(self.guest.id).unlink(missing_ok=True)
        return True

    def _make(self) -> None:
        report, rotation = self.find_due(), self.rotation
        if report is None:
            return
        # KEEP may have become less: what goes by it makes room.
        self._expire()
        remove(rotation.store.expired)
        remove(rotation.store.incomplete)
        rotation.store.incomplete.mkdir()
        # What is kept is closed further up.
        rotation.store.incomplete.chmod(0o711)
        tree = Copy(self.paths.tree(self.guest.id), self.paths.manifest(self.guest.id))
        copied = copy(tree, rotation.store.making, self._newest(), self.is_over)
        os.link(tree.manifest, rotation.store.making_manifest)
        rotation.seal(report)
        self.say(f"of {self.guest.name}: {copied.linked} shared, {copied.written} written, {copied.bytes} bytes")
        self._expire()

    def _newest(self) -> Copy | None:
        store = self.rotation.store
        for name in self.rotation.complete()[-1:]:
            return Copy(store.tree(name), store.manifest(name))
        return None

    def _expire(self) -> None:
        keep = self.guest.keep
        gone = snapshots.expire_days(self.rotation.complete(), keep)
        self.rotation.let_go(gone, f"the last {keep} days stay")
        shelf_of(self.paths, self.guest).forget_manifests(self._runs())

    def _runs(self) -> Iterator[str]:
        night = find_night(self.paths.night(self.guest.id))
        yield from (night.run,) if night else ()
        yield from map(self._run_of, self.rotation.complete())

    def _run_of(self, name: str) -> str:
        return parse_report(self.rotation.store.report(name).read_bytes()).run
