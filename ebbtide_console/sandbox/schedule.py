"""EventBridge's schedules on the sandbox's clock: which rules come due, and when."""

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pyawscron import AWSCron

from ebbtide_console.sandbox.clock import Clock

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_CRON = re.compile(r"cron\((.+)\)")


def following(expression: str, after: datetime) -> datetime:
    """The first instant of `rate(…)` or `cron(…)` after `after`. Raises ValueError for anything else."""
    if rate := _RATE.fullmatch(expression):
        return after + timedelta(**{f"{rate[2]}s": int(rate[1])})
    if cron := _CRON.fullmatch(expression):
        found: datetime = AWSCron(cron[1]).occurrence(after).next()
        return found
    raise ValueError(f"schedule {expression!r}: expected rate(5 minutes) or cron(0 2 * * ? *)")


def _is_for(function: str, target: Mapping[str, Any]) -> bool:
    return bool(target["Arn"].endswith(function))


class Schedule:
    """Fires each rule that comes due, once per look: what a jump of the clock skipped is not made up for."""

    def __init__(self, clock: Clock, rules: Callable[[], Iterable[Any]], fire: Callable[[Any, datetime], None]) -> None:
        self._clock = clock
        self._rules = rules
        self._fire = fire
        self._lock = threading.Lock()
        self._looked = clock.now()
        self._last: dict[tuple[str, str], datetime] = {}
        self._enabled = True
        self._stopped = threading.Event()
        clock.on_move(self.fire_due)

    def start(self) -> None:
        """Look twice a second, in a thread of its own."""
        threading.Thread(target=self._watch, daemon=True, name="schedule").start()

    def stop(self) -> None:
        self._stopped.set()

    def disable(self) -> None:
        """No rule fires on its own any more; fire() still does."""
        self._enabled = False

    def enable(self) -> None:
        """Rules fire again, counted from now."""
        with self._lock:
            self._last.clear()
            self._looked = self._clock.now()
            self._enabled = True

    def fire(self, function: str) -> None:
        """Fire now, whatever the clock says, every schedule of this function (its short name). KeyError if none is."""
        rules = [rule for rule in self._scheduled() if any(_is_for(function, target) for target in rule.targets)]
        if not rules:
            raise KeyError(f"function {function} has no enabled schedule")
        for rule in rules:
            self._fire(rule, self._clock.now())

    def fire_due(self) -> None:
        """Fire what came due since the last look."""
        with self._lock:
            now = self._clock.now()
            due = [rule for rule in self._scheduled() if self._is_due(rule, now)] if self._enabled else []
            self._looked = now
        for rule in due:
            self._fire(rule, now)

    def _is_due(self, rule: Any, now: datetime) -> bool:
        key = (rule.arn, rule.scheduled_expression)
        if following(rule.scheduled_expression, self._last.setdefault(key, self._looked)) > now:
            return False
        self._last[key] = now
        return True

    def _scheduled(self) -> list[Any]:
        return [rule for rule in self._rules() if rule.scheduled_expression and rule.state == "ENABLED"]

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            self.fire_due()
