"""EventBridge's delivery: events and schedules to the functions they are for, asynchronously."""

import copy
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.events.models import EventsBackend, Rule, events_backends

from ebbtide_console.sandbox.clock import Clock, wire_time
from ebbtide_console.sandbox.overrides import Overrides

Event = dict[str, Any]
Deliver = Callable[[str, Event], None]


def everything(event: Event) -> bool:
    """The predicate for losing all events."""
    return True


class Bus:
    """Delivers through `deliver(function name, event)`. What drop() chooses is lost, and kept in `lost`."""

    def __init__(self, clock: Clock, account: str, region: str, deliver: Deliver) -> None:
        self._clock = clock
        self._account = account
        self._region = region
        self._deliver = deliver
        self._drops: Callable[[Event], bool] | None = None
        self.lost: list[Event] = []

    def install(self, overrides: Overrides) -> None:
        """Take over moto's delivery."""
        self._moto_delivers = overrides.replace(Rule, "send_to_targets", self._offer)
        self._moto_puts = overrides.replace(EventsBackend, "put_events", self._put)

    def drop(self, chosen: Callable[[Event], bool] = everything) -> None:
        """Lose every event that `chosen` says yes to; schedules are not events."""
        self._drops = chosen

    def keep(self) -> None:
        """Lose nothing any more."""
        self._drops = None

    def emit(self, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str]) -> None:
        """An event of EC2's own."""
        entry = {
            "Source": "aws.ec2",
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
            "Resources": list(resources),
        }
        self._backend.put_events([entry])

    def fire(self, rule: Any, at: datetime) -> None:
        """What a schedule sends its targets at its time."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": self._account,
            "time": wire_time(at),
            "region": self._region,
            "resources": [rule.arn],
            "detail": {},
        }
        self._send(rule, event)

    def rules(self) -> list[Any]:
        """Every rule of every bus."""
        return [rule for bus in list(self._backend.event_buses.values()) for rule in list(bus.rules.values())]

    @property
    def _backend(self) -> Any:
        return events_backends[self._account][self._region]

    def _put(self, backend: Any, events: list[Event]) -> Any:
        now = self._clock.now().timestamp()
        return self._moto_puts(backend, [{"Time": now, **event} for event in events])

    def _offer(self, rule: Any, event: Event, transform_input: bool = True) -> None:
        """In place of moto's Rule.send_to_targets, which fires disabled rules, and schedules on every event."""
        if rule.state != "ENABLED" or not rule.event_pattern.get_pattern():
            return
        if not rule.event_pattern.matches_event(event):
            return
        if self._drops is not None and self._drops(event):
            self.lost.append(event)
            return
        self._send(rule, _as_delivered(event))
        rest = copy.copy(rule)
        rest.targets = [target for target in rule.targets if not _is_function(target)]
        self._moto_delivers(rest, event, transform_input)

    def _send(self, rule: Any, event: Event) -> None:
        for name, constant in _functions(rule):
            self._deliver(name, event if constant is None else json.loads(constant))


def _is_function(target: Mapping[str, Any]) -> bool:
    return ":lambda:" in target["Arn"]


def _functions(rule: Any) -> Iterator[tuple[str, str | None]]:
    """Name and constant input of each function the rule targets."""
    for target in rule.targets:
        if _is_function(target):
            yield target["Arn"].split(":function:")[1].split(":")[0], target.get("Input")


def _as_delivered(event: Event) -> Event:
    """The event as a function gets it: its time in words, without moto's own fields."""
    delivered = {name: value for name, value in event.items() if name != "ingestion-time"}
    if not isinstance(delivered["time"], str):
        delivered["time"] = wire_time(datetime.fromtimestamp(float(delivered["time"]), UTC))
    return delivered
