"""What carries events and invocations: at least once, in no order, late, or not at all; with Lambda's own retries."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.sim.clock import Agenda
from tests.sim.doors import Doors
from tests.sim.faults import Fate, FaultPlan, of_cycle
from tests.sim.story import Story

ON_THE_WAY = timedelta(seconds=1)
# Lambda calls an asynchronous invocation that failed twice more.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
RETRIES = (timedelta(minutes=1), timedelta(minutes=2))

Knock = Callable[[], object]


@dataclass
class Bus:
    """`delivered` is everything that ever knocked, to be played again; `dead` what Lambda gave up."""

    agenda: Agenda
    plan: FaultPlan
    story: Story
    doors: Doors
    place: str = ""
    delivered: dict[str, Knock] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    _events: int = 0
    _invocations: int = 0

    def emit(self, source: str, kind: str, detail: dict[str, Any]) -> None:
        """EventBridge: best effort."""
        what = f"{self.place}{kind} {json.dumps(detail)}"
        fate = of_cycle(self.plan.events, self._events)
        self._events += 1
        self._send(what, fate, lambda: self.doors.event(source, kind, detail))

    def invoke_later(self, function: str, payload: Mapping[str, Any]) -> None:
        """The Lambdas port: an asynchronous queue."""
        body = json.dumps(payload)
        fate = of_cycle(self.plan.invocations, self._invocations)
        self._invocations += 1
        request = self.doors.new_request()
        self._send(
            f"{self.place}{function} {body}", fate, lambda: self.doors.invoke(function, json.loads(body), request)
        )

    def knock(self, schedule: str, knock: Knock) -> None:
        """What a schedule does. Another one comes so soon that Lambda's retries of this one change nothing."""
        with self.story.of(schedule):
            try:
                knock()
            except Exception as fault:  # noqa: BLE001
                self.story.tell(f"    failed: {fault}")

    def _send(self, what: str, fate: Fate, knock: Knock) -> None:
        if fate.copies == 0:
            self.story.tell(f"lost on its way: {what}")
        for copy in range(fate.copies):
            self.agenda.after(ON_THE_WAY * (copy + 1) + fate.late, lambda: self._arrive(what, knock))

    def _arrive(self, what: str, knock: Knock, tries: int = 0) -> None:
        self.delivered[what] = knock
        with self.story.of(what):
            try:
                knock()
            except Exception as fault:  # noqa: BLE001
                self._again(what, knock, tries, fault)

    def _again(self, what: str, knock: Knock, tries: int, fault: BaseException) -> None:
        if tries == len(RETRIES):
            self.story.tell(f"    given up: {fault}")
            return self.dead.append(what)
        self.story.tell(f"    failed, to be tried again: {fault}")
        return self.agenda.after(RETRIES[tries], lambda: self._arrive(what, knock, tries + 1))
