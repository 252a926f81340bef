"""The second region: the same stack, standing by with the copies and the archive's replica, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chalicelib.core import tags
from chalicelib.ports import StackRole
from tests.fakes import (
    FakeAccount,
    FakeAddress,
    FakeArchive,
    FakeBus,
    FakeCatalog,
    FakeCopies,
    FakeEntrances,
    some_nonces,
    some_settings,
)
from tests.sim.bus import Bus
from tests.sim.clock import Agenda
from tests.sim.doors import Doors
from tests.sim.ears import SimAlarms, SimWatch
from tests.sim.faults import FaultPlan
from tests.sim.machines import Box, SimMachines
from tests.sim.receiver import Surroundings
from tests.sim.restorer import Restorer
from tests.sim.story import Story
from tests.sim.volumes import SimVolumes
from tests.sim.weather import Weather, exposed

THERE = "eu-central-1"


class Standby:
    """What outlives an invocation there is in `volumes`, `archive` and `catalog`. Its faults are a plan of its own."""

    def __init__(self, agenda: Agenda, story: Story, plan: FaultPlan) -> None:
        self.agenda, self.plan, self.started = agenda, plan, agenda.now
        self.bus = Bus(agenda, plan, story, Doors(lambda: self.world), "there: ")
        self.machines = SimMachines(agenda, plan, story, self.bus.emit, self._start, place="there-")
        self.volumes = SimVolumes(self.machines, agenda, plan, story, self.bus.emit, place="there-")
        self.archive, self.catalog = FakeArchive(), FakeCatalog()
        self.alarms, self.watch = SimAlarms(agenda, story), SimWatch(agenda, story)
        self.around = Surroundings(agenda, self.machines, self.volumes, self.archive, self.bus.emit, story.tell)
        self.weather = Weather(plan, agenda, story)
        self.bus.doors.on_knock = self.weather.begin
        self.world = exposed(
            {
                "machines": self.machines,
                "volumes": self.volumes,
                "copies": FakeCopies(),
                "address": FakeAddress(),
                "entrances": FakeEntrances(),
                "archive": self.archive,
                "receipts": self.archive,
                "catalog": self.catalog,
                "account": FakeAccount(),
                "lambdas": self.bus,
                "alarms": self.alarms,
                "watch": self.watch,
                "bus": FakeBus(),
            },
            some_nonces(),
            replace(some_settings(), region=THERE, role=StackRole.STANDBY),
            self.weather,
        )

    def _start(self, box: Box) -> None:
        assert box.machine.tags[tags.ROLE] == tags.Role.RECOVERY, "a standby opens no runs"
        Restorer(box, self.around).start()

    def tick(self) -> None:
        """Its own schedule's, unless that is silent."""
        since = self.agenda.now - self.started
        if any(begins <= since < ends for begins, ends in self.plan.silences):
            return
        self.bus.knock("there: tick", self.bus.doors.tick)
        if self.agenda.now.minute < 5:
            self.bus.knock("there: sweep", self.bus.doors.sweep)

    def call(self, door: str, **values: Any) -> Mapping[str, Any]:
        """As an operator does, who sees the error."""
        return dict(self.bus.doors.invoke(door, {"schema": 1, **values}))

    def pass_time(self, time: timedelta) -> None:
        """With a tick every five minutes: what is left when the other region is gone."""
        end = self.agenda.now + time
        while self.agenda.now < end:
            self.tick()
            self.agenda.run_until(min(end, self.agenda.now + timedelta(minutes=5)))
