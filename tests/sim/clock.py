"""Virtual time, and what is still to come: nothing here waits, and the same agenda is always the same night."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

Deed = Callable[[], object]


@dataclass
class Agenda:
    """What is due first happens first; of two at one instant, the one that was put down first."""

    now: datetime
    _coming: list[tuple[datetime, int, Deed]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def at(self, when: datetime, deed: Deed) -> None:
        heapq.heappush(self._coming, (max(when, self.now), next(self._numbers), deed))

    def after(self, delay: timedelta, deed: Deed) -> None:
        self.at(self.now + delay, deed)

    def next_due(self, otherwise: datetime) -> datetime:
        return self._coming[0][0] if self._coming else otherwise

    def run_until(self, end: datetime) -> None:
        """Everything that is due by then, what comes of it included; then it is `end`."""
        while self._coming and self._coming[0][0] <= end:
            self.now, _, deed = heapq.heappop(self._coming)
            deed()
        self.now = max(self.now, end)
