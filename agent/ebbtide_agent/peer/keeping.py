"""The snapshots of a guest: after each complete report one of its tree, and the oldest go after it.

Whether one is due is seen from what there is: the tree's last complete report, and the snapshots. Until it is made
nobody touches the tree, so whatever kills us in between, the next look goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Callable

from ebbtide_agent.errors import AgentError, PermanentError, TransientError
from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import DirectoryPaths
from ebbtide_agent.peer.copying import Copy, copy
from ebbtide_agent.peer.machine import Peer
from ebbtide_agent.peer.night import find_night
from ebbtide_agent.peer.past import Past, find_newest, read_past
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.peer.shelf import Shelf
from ebbtide_agent.receiver.baseline import keep_manifest
from ebbtide_agent.receiver.durable import find_why_lost, write_all
from ebbtide_agent.report import Report
from ebbtide_agent.rotation import Rotation, remove


@dataclass(frozen=True)
class Keeper:
    """Makes the snapshots of one guest."""

    peer: Peer
    guest: Guest
    say: Callable[[str], None] = lambda _: None
    is_over: Callable[[], bool] = lambda: False

    @property
    def store(self) -> DirectoryPaths:
        return self.peer.paths.snapshots(self.guest.id)

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.store, self.peer.clock, self.say, partial(write_all, self.peer.paths))

    @property
    def shelf(self) -> Shelf:
        return Shelf.of(self.peer.paths, self.guest.id)

    def past(self) -> Past:
        return read_past(self.store)

    def find_report(self) -> Report | None:
        """Of the guest's last night."""
        night = find_night(self.peer.paths.night(self.guest.id))
        return self.shelf.find_report(night.run, self.guest.id) if night else None

    def find_due(self) -> Report | None:
        """The complete report of a tree that is in no snapshot yet."""
        report = self.find_report()
        if report is None or not report.is_complete:
            return None
        newest = find_newest(self.store)
        return None if newest and newest.report.run == report.run else report

    def find_trouble(self) -> str | None:
        """Why the one that is due could not be made the last time it was tried."""
        try:
            return self.peer.paths.trouble(self.guest.id).read_text().strip()
        except FileNotFoundError:
            return None

    def keep(self) -> bool:
        """Make the snapshot that is due, if one is; False when it could not be made and somebody has to make room.

        Raises TransientError while a session of the guest is under way, or when it is told to stop.
        """
        if self.find_due() is None:
            return True
        try:
            with self.peer.holding(self.guest.id) as guest:
                if guest.reads_until(self.peer.up()):
                    # Nothing goes from below who reads. It can wait: until then nothing is pushed.
                    return True
                self._make(guest.keep)
        except TransientError:
            raise
        except (OSError, AgentError) as error:
            remove(self.store.incomplete)
            self.say(f"no snapshot of {self.guest.name}: {error}")
            write_whole(self.peer.paths.trouble(self.guest.id), str(error).encode())
            return False
        self.peer.paths.trouble(self.guest.id).unlink(missing_ok=True)
        return True

    def _make(self, keep: int) -> None:
        report, store = self.find_due(), self.store
        if report is None:
            return
        if why := find_why_lost(self.peer.paths):
            raise PermanentError(why)
        # Dated in the future it was when neither our clock nor the host's has got there.
        self.rotation.date_anew(max(self.peer.clock(), report.finished))
        # KEEP may have become less: what goes by it makes room.
        self._expire(keep)
        remove(store.expired)
        remove(store.incomplete)
        store.incomplete.mkdir()
        # What is kept is closed further up.
        store.incomplete.chmod(0o711)
        # The gate may have been killed before it could.
        keep_manifest(self.peer.paths, self.guest.id, report)
        tree = Copy(self.peer.paths.tree(self.guest.id), self.peer.paths.manifest(self.guest.id))
        copied = copy(tree, store.making, self._newest(), self.is_over)
        os.link(tree.manifest, store.making_manifest)
        self.rotation.seal(report)
        self.say(f"of {self.guest.name}: {copied.linked} shared, {copied.written} written, {copied.bytes} bytes")
        self._expire(keep)

    def _newest(self) -> Copy | None:
        newest = find_newest(self.store)
        return Copy(self.store.tree(newest.name), self.store.manifest(newest.name)) if newest else None

    def _expire(self, keep: int) -> None:
        self.rotation.let_go(self.past().expired(keep), f"the last {keep} days stay")
        self.shelf.keep_manifests(self._reports())

    def _reports(self) -> Iterator[Report]:
        if report := self.find_report():
            yield report
        for snapshot in self.past().whole:
            yield snapshot.report
