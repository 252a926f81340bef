"""EC2 instances in memory: client tokens, states that take time, machines that show late and are forgotten."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.model import Machine
from chalicelib.errors import CapacityError, PermanentError, TokenSpentError, TokenTakenError
from chalicelib.ports import LaunchRequest
from tests.fakes import carries
from tests.sim.clock import Agenda
from tests.sim.faults import FaultPlan, MachineLife, of_list
from tests.sim.story import Story

ZONES = {"subnet-a": "zone-a", "subnet-b": "zone-b"}
TO_RUN = timedelta(seconds=20)
TO_SHUT_DOWN = timedelta(seconds=30)
# EC2 shows a terminated instance for about an hour.
FORGOTTEN_AFTER = timedelta(hours=1)

Emit = Callable[[str, str, dict[str, Any]], None]


@dataclass
class Box:
    """A machine and what EC2 does not tell: what it was asked for with, when it shows, when it ended."""

    machine: Machine
    request: LaunchRequest
    life: MachineLife
    shows: datetime
    ended: datetime | None = None


@dataclass
class SimMachines:
    """EC2 instances. `on_running` is where a machine's own life begins."""

    agenda: Agenda
    plan: FaultPlan
    story: Story
    emit: Emit
    on_running: Callable[[Box], None] = lambda box: None
    on_ended: list[Callable[[Box], None]] = field(default_factory=list)
    place: str = ""
    boxes: dict[str, Box] = field(default_factory=dict)
    by_token: dict[str, str] = field(default_factory=dict)
    _started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.agenda.now

    def find(self, tags: Mapping[str, str]) -> list[Machine]:
        return [box.machine for box in self.boxes.values() if self._shows(box) and carries(box.machine.tags, tags)]

    def get(self, machine_id: str) -> Machine:
        box = self.boxes.get(machine_id)
        if box is None or not self._shows(box):
            raise KeyError(machine_id)
        return box.machine

    def _shows(self, box: Box) -> bool:
        forgotten = box.ended is not None and self.agenda.now >= box.ended + FORGOTTEN_AFTER
        return self.agenda.now >= box.shows and not forgotten

    def launch(self, request: LaunchRequest) -> Machine:
        if request.token in self.by_token:
            return self._launched_before(request)
        number = len(self.boxes) + 1
        self.would_launch(request)
        zone, now = self.zone_of(request.subnet), self.agenda.now
        if self._lacks_room(zone) or self._lacks_room(request.instance_type):
            raise CapacityError(f"InsufficientInstanceCapacity: no {request.instance_type} in {zone}")
        name, address, tagged = f"i-{self.place}{number}", f"10.0.0.{number}", dict(request.tags)
        machine = Machine(name, "pending", address, zone, now, tagged, request.instance_type)
        life = of_list(self.plan.machines, number - 1, MachineLife())
        box = Box(machine, request, life, shows=now + self.plan.pace.to_show)
        self.boxes[machine.id], self.by_token[request.token] = box, machine.id
        self.story.tell(f"    EC2 launches {machine.id}, a {request.instance_type}, for {request.tags.get('Name')}")
        self._say(box)
        self.agenda.after(TO_RUN, lambda: self._run(box))
        return machine

    def _lacks_room(self, where: str) -> bool:
        past = self.agenda.now - self._started
        return any(each.where == where and each.since <= past < each.until for each in self.plan.no_room)

    def would_launch(self, request: LaunchRequest) -> None:
        """A subnet that is not there is refused; a type or a zone without room is not, for a dry run reserves none."""
        if request.subnet not in ZONES:
            raise PermanentError(f"InvalidSubnetID.NotFound: {request.subnet}")

    def _launched_before(self, request: LaunchRequest) -> Machine:
        """IdempotentParameterMismatch and IdempotentInstanceTerminated, as EC2 has them."""
        box = self.boxes[self.by_token[request.token]]
        if box.request != request:
            raise TokenTakenError(f"IdempotentParameterMismatch: the token of {box.machine.id} with another request")
        if box.machine.state in ("shutting-down", "terminated"):
            raise TokenSpentError(f"IdempotentInstanceTerminated: {box.machine.id} is {box.machine.state}")
        return box.machine

    def _run(self, box: Box) -> None:
        if box.machine.state == "pending":
            self._become(box, "running")
            self.on_running(box)

    def tag(self, machine_id: str, tags: Mapping[str, str]) -> None:
        box = self.boxes[machine_id]
        box.machine = replace(box.machine, tags={**box.machine.tags, **tags})

    def terminate(self, machine_id: str) -> None:
        """Also what a machine does that powers itself off: its shutdown behaviour is to terminate."""
        box = self.boxes.get(machine_id)
        if box is None or box.machine.state in ("shutting-down", "terminated"):
            return
        self._become(box, "shutting-down")
        for told in self.on_ended:
            told(box)
        self.agenda.after(TO_SHUT_DOWN, lambda: self._end(box))

    def _end(self, box: Box) -> None:
        box.ended = self.agenda.now
        self._become(box, "terminated")
        box.machine = replace(box.machine, address=None)

    def _become(self, box: Box, state: str) -> None:
        box.machine = replace(box.machine, state=state)
        self.story.tell(f"{box.machine.id} is {state}")
        self._say(box)

    def _say(self, box: Box) -> None:
        detail = {"instance-id": box.machine.id, "state": box.machine.state}
        self.emit("aws.ec2", "EC2 Instance State-change Notification", detail)

    def zone_of(self, subnet: str) -> str:
        return ZONES[subnet]
