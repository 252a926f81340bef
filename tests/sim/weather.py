"""What every call of a port passes: the faults of the plan, and AWS's token buckets."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from chalicelib.errors import PermanentError, TransientError
from chalicelib.ports import Settings, World
from tests.fakes import Crash
from tests.sim.clock import Agenda
from tests.sim.faults import CallFault, FaultPlan, Says
from tests.sim.story import Story

# Burst and refill a second of EC2's request throttling, for the calls that have a bucket of their own.
# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
BUCKETS = {"volumes.create_snapshot": (100, 5.0), "volumes.delete_snapshot": (100, 5.0)}

# What changes nothing: after it the world is as it was before.
LOOKS = (
    "*.find*", "*.get*", "account.*", "address.current", "address.open_to", "archive.list", "catalog.policy_version",
    "entrances.ways", "machines.would_launch", "machines.zone_of",
)  # fmt: skip

_ERRORS: dict[Says, type[Exception]] = {
    Says.THROTTLED: TransientError,
    Says.NO_ANSWER: TransientError,
    Says.DENIED: PermanentError,
    Says.DIES: Crash,
}


@dataclass
class Bucket:
    """Tokens that come back with time."""

    burst: int
    per_second: float
    tokens: float
    filled: datetime

    def take(self, now: datetime) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.filled).total_seconds() * self.per_second)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Weather:
    """Counts the calls, by port and call, and lets the planned ones fail. `struck` is how many did."""

    plan: FaultPlan
    agenda: Agenda
    story: Story
    rival: Callable[[], object] = lambda: None
    is_fair: bool = False
    is_dead: bool = False
    counted: "Counter[str]" = field(default_factory=Counter)
    struck: int = 0
    _started: datetime = field(init=False)
    _matched: dict[int, int] = field(default_factory=dict)
    _has_called: bool = False
    _buckets: dict[str, Bucket] = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.agenda.now
        self._buckets = {
            call: Bucket(burst, per_second, burst, self._started) for call, (burst, per_second) in BUCKETS.items()
        }

    def begin(self) -> None:
        """Another process: the last one may have died."""
        self.is_dead = self._has_called = False

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call as it comes through: with this name, under what the plan has for it."""
        faults = [(number, each) for number, each in enumerate(self.plan.calls) if fnmatchcase(name, each.call)]
        looks = any(fnmatchcase(name, each) for each in LOOKS)
        at_looks = [(number, each) for number, each in faults if not each.at_deeds]
        bucket = self._buckets.get(name)

        def guarded(*given: Any, **named: Any) -> Any:
            if not self.is_fair:  # what checks and rivals do besides is not the night's own
                self.counted[name] += 1
            if self.is_dead:
                raise Crash(f"{name}: who is dead cleans up nothing")
            if bucket is not None and not bucket.take(self.agenda.now):
                raise TransientError(f"{name}: RequestLimitExceeded")
            in_force = at_looks if looks and self._has_called else faults
            self._has_called = True
            fault = self._striking(in_force) if in_force and not self.is_fair else None
            if fault is None:
                return call(*given, **named)
            return self._suffer(fault, name, lambda: call(*given, **named))

        return guarded

    def _suffer(self, fault: CallFault, name: str, call: Callable[[], Any]) -> Any:
        self.struck += 1
        after = ", though it happened" if fault.has_effect else ""
        self.story.tell(f"    {name}: {fault.says}{after}")
        if fault.says is Says.NOTHING:
            return []
        if fault.says is Says.RIVAL:
            self.is_fair = True
            self.rival()
            self.is_fair = False
            return call()
        if fault.has_effect:
            call()
        self.is_dead = fault.says is Says.DIES
        raise _ERRORS[fault.says](f"{name}: {fault.says}")

    def _striking(self, faults: Iterable[tuple[int, CallFault]]) -> CallFault | None:
        """Each of these is counted, up to the first one that strikes."""
        for number, fault in faults:
            if not self._is_on(fault):
                continue
            matched = self._matched[number] = self._matched.get(number, 0) + 1
            if fault.skip < matched <= fault.skip + fault.times:
                return fault
        return None

    def _is_on(self, fault: CallFault) -> bool:
        return self._started + fault.since <= self.agenda.now < self._started + fault.until


class Exposed:
    """A port out in the weather. Each of its calls is looked up once: there are a thousand a night."""

    def __init__(self, name: str, port: Any, weather: Weather) -> None:
        self.name = name
        self.port = port
        self.weather = weather

    def __getattr__(self, call: str) -> Any:
        guarded = self.weather.around(f"{self.name}.{call}", getattr(self.port, call))
        setattr(self, call, guarded)
        return guarded


def exposed(ports: Mapping[str, Any], new_nonce: Callable[[], str], settings: Settings, weather: Weather) -> World:
    """A world whose every port, by its name, is out in this weather."""
    out = {name: Exposed(name, port, weather) for name, port in ports.items()}
    return World(**out, new_nonce=new_nonce, settings=settings)
