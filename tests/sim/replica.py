"""The archive, and its replica in the other region: S3 brings every new object there in its own time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tests.fakes import FakeArchive
from tests.sim.clock import Agenda


@dataclass
class SimArchive(FakeArchive):
    """Tells of every new object."""

    on_put: Callable[[str, bytes], None] = lambda key, body: None

    def put_once(self, key: str, body: bytes) -> bool:
        is_new = super().put_once(key, body)
        if is_new:
            self.on_put(key, body)
        return is_new


@dataclass
class Replication:
    """From one archive to another, for as long as the region that it comes from `stands`."""

    agenda: Agenda
    to: FakeArchive
    takes: timedelta
    stands: bool = field(default=True)

    def carry(self, key: str, body: bytes) -> None:
        self.agenda.after(self.takes, lambda: self._arrive(key, body))

    def _arrive(self, key: str, body: bytes) -> None:
        if self.stands:
            self.to.put_once(key, body)
