"""A simulated world, and nights in it: put together here, from the bus to the hosts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.backups import mark_of, points_in
from chalicelib.core.copying import uncopied
from chalicelib.core.ids import own_host, own_word
from chalicelib.core.model import Recovery, RecoveryKind, Run, RunState, Snapshot
from chalicelib.core.policy import Policy, ReceiverPolicy
from chalicelib.core.policy_file import parse
from chalicelib.core.pruning import A_NIGHT
from chalicelib.core.windows import CATCH_UP, Window, window_on
from chalicelib.flows.forget import find_forgotten, forgotten_under
from chalicelib.flows.policies import find_policy
from chalicelib.ports import World
from tests.fakes import FakeAccount, FakeAddress, FakeBus, FakeCatalog, FakeEntrances, some_nonces, some_settings
from tests.sim.bus import Bus
from tests.sim.clock import Agenda
from tests.sim.copies import SimCopies
from tests.sim.doors import Doors, opened
from tests.sim.ears import SimAlarms, SimWatch
from tests.sim.faults import QUIET, FaultPlan, HostNight, of_list
from tests.sim.hosts import Hosts
from tests.sim.machines import Box, SimMachines
from tests.sim.own_hosts import OwnHosts
from tests.sim.policies import ONE_RECEIVER, SomePolicy
from tests.sim.receiver import A_MINUTE, Receiver, Surroundings
from tests.sim.replica import Replication, SimArchive
from tests.sim.restorer import Restorer
from tests.sim.standby import THERE, Standby
from tests.sim.story import Story
from tests.sim.volumes import SimVolumes
from tests.sim.weather import Weather, exposed

A_TICK = timedelta(minutes=5)
AN_HOUR = timedelta(hours=1)
A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Scenario:
    """All that there is to know to play it again."""

    policy: SomePolicy = ONE_RECEIVER
    plan: FaultPlan = QUIET
    first_day: date = date(2026, 11, 23)
    nights: int = 1


@dataclass(frozen=True)
class Night:
    """One night of one receiver, as the policy has it."""

    receiver: ReceiverPolicy
    window: Window

    @property
    def key(self) -> tuple[str, date]:
        return self.receiver.name, self.window.day


class Simulation:
    """One scenario's world. What outlives an invocation is in `machines`, `volumes`, `archive` and `catalog`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, plan = scenario, scenario.plan
        self.policy: Policy = parse(scenario.policy.text, "000001")
        self.nights = self._nights()
        self.agenda = Agenda(self._first_opening() - A_TICK)
        self.started = self.agenda.now
        self.story = Story(self.agenda)
        self.bus = Bus(self.agenda, plan, self.story, Doors(lambda: self.world))
        self.machines = SimMachines(self.agenda, plan, self.story, self.bus.emit, self._start)
        self.volumes = SimVolumes(self.machines, self.agenda, plan, self.story, self.bus.emit)
        self.standby = Standby(self.agenda, self.story, plan.there or QUIET)
        self.copies = SimCopies(self.volumes, {THERE: self.standby.volumes}, self.story)
        self.volumes.on_delete = self._note_deletion
        self.standby.volumes.on_delete = lambda each: self._note_unmarked(self.standby.volumes.snapshots[each])
        self.replication = Replication(self.agenda, self.standby.archive, plan.pace.to_replicate)
        self.archive, self.catalog, self.address = (
            SimArchive(on_put=self.replication.carry),
            FakeCatalog(),
            FakeAddress(),
        )
        self.archive.objects.update({some_settings().agent: b"the agent", **dict(plan.forged)})
        self.account, self.entrances = FakeAccount(), FakeEntrances()
        self.alarms, self.watch = SimAlarms(self.agenda, self.story), SimWatch(self.agenda, self.story)
        self.listeners = FakeBus()
        self.around = Surroundings(
            self.agenda, self.machines, self.volumes, self.archive, self.bus.emit, self.story.tell
        )
        self.receivers: list[Receiver] = []
        self.hosts = Hosts(self.around, self.address, self.receivers)
        self.own_hosts = OwnHosts(self.around, self.hosts.truth)
        self.own_hosts.furnish(self.policy.own_volume_hosts())
        self.weather = Weather(plan, self.agenda, self.story, self.rival)
        self.bus.doors.on_knock = self.weather.begin
        new_nonce = some_nonces()
        self.world = exposed(self._ports(), new_nonce, some_settings(), self.weather)
        self.truth = World(**self._ports(), new_nonce=new_nonce, settings=some_settings())
        self.torn: list[str] = []
        self.held: set[str] = set()
        self._visits = 0

    def _nights(self) -> list[Night]:
        days = [self.scenario.first_day + number * A_DAY for number in range(self.scenario.nights)]
        nights = [Night(each, window_on(each, day)) for each in self.policy.receivers.values() for day in days]
        return sorted(nights, key=lambda night: (night.window.opens, night.key))

    def _ports(self) -> dict[str, Any]:
        return {
            "machines": self.machines,
            "volumes": self.volumes,
            "copies": self.copies,
            "address": self.address,
            "entrances": self.entrances,
            "archive": self.archive,
            "receipts": self.archive,
            "catalog": self.catalog,
            "account": self.account,
            "lambdas": self.bus,
            "alarms": self.alarms,
            "watch": self.watch,
            "bus": self.listeners,
        }

    def _start(self, box: Box) -> None:
        if box.machine.tags[tags.ROLE] == tags.Role.RECOVERY:
            return Restorer(box, self.around).start()
        receiver = Receiver(box, self.around)
        self.receivers.append(receiver)
        return receiver.start()

    @contextmanager
    def doors_open(self) -> Iterator[None]:
        with opened(self.agenda, self.story):
            yield

    # -- time

    def _first_opening(self) -> datetime:
        return min(night.window.opens for night in self.nights)

    def send_out_the_hosts(self) -> None:
        """Every cron of every night: hosts know nothing of runs. And every noon, when the preflight looks."""
        for day in range(self.scenario.nights + 2):
            self.agenda.at(self._noon(day), lambda: self.bus.knock("preflight", self.bus.doors.preflight))
        days = sorted({night.window.day for night in self.nights})
        self.own_hosts.send_out(self.policy.own_volume_hosts(), days, self.scenario.plan.own_hosts)
        for night in self.nights:
            for name in night.receiver.hosts:
                doing = of_list(self.scenario.plan.hosts, self._visits, HostNight())
                self._visits += 1
                address_name, opens = night.receiver.address_name, night.window.opens
                self.hosts.expect(self.policy.hosts[name].id, name, address_name, opens, doing)

    def _noon(self, day: int) -> datetime:
        """The noons since the start, in UTC."""
        today = self.started.astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        return today + (day + (today < self.started)) * A_DAY

    def go_through(self, night: Night) -> None:
        """To its window, and then a tick every five minutes until it is over; for a day at most."""
        self.pass_time(night.window.opens)
        while self.agenda.now < night.window.opens + A_DAY and not self._is_over(night):
            self.tick()
            self.agenda.run_until(self.agenda.now + A_TICK)

    def pass_time(self, end: datetime) -> None:
        """What is late arrives. There are ticks while a run or an opening is open, or a restore is not back; for other
        recoveries and untold failures one an hour.
        """
        while self.agenda.now < end:
            pause = self._pause()
            if pause:
                self.tick()
            self.agenda.run_until(min(end, self.agenda.now + pause if pause else self.agenda.next_due(end)))

    def _pause(self) -> timedelta | None:
        if any(not run.state.is_final for run in self.runs()) or self.own_hosts.unopened(self.runs()):
            return A_TICK
        known = (*self.catalog.find_recoveries(), *self.standby.catalog.find_recoveries())
        recoveries = [each for each in known if not each.state.is_final]
        if any(map(_is_waited_for, recoveries)):
            return A_TICK
        if recoveries or self.untold() or self.uncopied() or self.unfollowed():
            return _to_the_full_hour(self.agenda.now)
        return None

    def untold(self) -> list[Run]:
        """The newest runs that failed and that no operator has heard of."""
        newest = [run for name in self.owners for run in self.catalog.find_runs(name, 1)]
        return [run for run in newest if self.is_failure(run) and not self.alarms.when(f"run {run.id} failed")]

    def is_failure(self, run: Run) -> bool:
        return run.state is RunState.FAILED and (own_host(run.id) is None or self.own_hosts.failed_in_vain(run))

    def uncopied(self) -> tuple[Snapshot, ...]:
        """What the copies' rules in force still want over there, judged by all that is, shown or not."""
        policy = find_policy(self.truth)
        if policy is None or policy.copy is None:
            return ()
        there, forgotten = self.standby.volumes.snapshots, forgotten_under(policy, self.truth)
        return uncopied(self.volumes.snapshots.values(), there.values(), policy.copy.retention, forgotten)

    def unfollowed(self) -> set[str]:
        """The complete copies with what is no restore point of the standby yet.

        A source whose first copy the table has forgotten is copied twice: the other one is an extra, and none.
        """
        known = {(point.run, point.host_id) for point in self.standby.catalog.find_points()}
        copies = self.standby.volumes.snapshots.values()
        staying = [each for each in copies if each.state == "completed" and not each.tags.get(tags.MARKED)]
        return {each.id for each in staying if {(point.run, point.host_id) for point in points_in(each)} - known}

    def _note_deletion(self, snapshot_id: str) -> None:
        snapshot = self.volumes.snapshots[snapshot_id]
        self._note_unmarked(snapshot)
        if snapshot_id in {each.id for each in self.uncopied()}:
            self.torn.append(f"{snapshot_id}, which was still to be copied")
        if snapshot_id in self.held:
            self.torn.append(f"{snapshot_id}, which was held")
        if any(run.snapshot_id == snapshot_id for run in self.runs()) and (strangers := self._who_left(snapshot)):
            self.torn.append(f"{snapshot_id} of {strangers}, who left and were not forgotten")

    def _note_unmarked(self, snapshot: Snapshot) -> None:
        """Between the mark and the deletion there is a night."""
        marked = mark_of(snapshot)
        if marked is None or self.agenda.now - marked < A_NIGHT:
            self.torn.append(f"{snapshot.id}, which was marked at {marked}")

    def _who_left(self, snapshot: Snapshot) -> set[str]:
        """The ids of those with points in it that the policy in force does not have, and that nobody has forgotten."""
        policy = find_policy(self.truth)
        present = {host.id for host in policy.hosts.values()} if policy else set()
        return {point.host_id for point in points_in(snapshot)} - present - find_forgotten(self.truth)

    def tick(self) -> None:
        """What the schedules of both regions do."""
        self._tick_here()
        if self.scenario.policy.copies or self.standby.volumes.content:
            self.standby.tick()

    def _tick_here(self) -> None:
        """Unless it is silent: the sweep comes once an hour."""
        since = self.agenda.now - self.started
        if any(begins <= since < ends for begins, ends in self.scenario.plan.silences):
            return
        for _ in range(self.scenario.plan.ticks_at_once):
            self.bus.knock("tick", self.bus.doors.tick)
        if self.agenda.now.minute < A_TICK // A_MINUTE:
            self.bus.knock("sweep", self.bus.doors.sweep)

    def _is_over(self, night: Night) -> bool:
        """Its run is closed, or will never be opened, every machine of a closed run is gone, and no report waits."""
        runs = {run.id: run for run in self.runs()}
        if self.own_hosts.unopened(runs.values()):
            return False
        of_night = [run for run_id, run in runs.items() if (run_id.receiver, run_id.day) == night.key]
        if any(not run.state.is_final for run in of_night):
            return False
        if not of_night and self.agenda.now <= night.window.deadline + CATCH_UP:
            return False
        closed = {str(run_id) for run_id, run in runs.items() if run.state.is_final}
        standing = (box.machine for box in self.machines.boxes.values() if box.machine.state != "terminated")
        return not any(machine.tags.get(tags.RUN) in closed for machine in standing)

    def runs(self) -> list[Run]:
        return [run for name in self.owners for run in self.catalog.find_runs(name, 1000)]

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose runs there are: receivers, and hosts with volumes of their own."""
        return (*self.policy.receivers, *(own_word(host.id) for host in self.policy.own_volume_hosts()))

    # -- what a test does

    def call(self, door: str, **values: Any) -> Mapping[str, Any]:
        """As an operator does, who sees the error."""
        return dict(self.bus.doors.invoke(door, {"schema": 1, **values}))

    def apply(self, text: str | None = None) -> Mapping[str, Any]:
        return self.call("apply_policy", text=text or self.scenario.policy.text, expected=None)

    def rival(self) -> None:
        """Another tick, and another invocation for every open run and recovery, from beginning to end."""
        self.bus.doors.tick()
        for run in self.runs():
            if not run.state.is_final:
                self.bus.doors.invoke("reconcile_run", wire.run_payload(run.id))
        for recovery in self.catalog.find_recoveries():
            if not recovery.state.is_final:
                self.bus.doors.invoke("recover", wire.recovery_payload(recovery.id))

    def lose_the_region(self) -> None:
        """Everything that is in this one, and whatever is on its way out of it."""
        self.story.tell("the region is lost")
        self.replication.stands = False
        for lost in (self.machines.boxes, self.volumes.volumes, self.volumes.snapshots, self.archive.objects):
            lost.clear()
        vars(self.catalog).update(vars(FakeCatalog()))

    def lose_the_table(self) -> None:
        self.story.tell("the table is lost")
        vars(self.catalog).update(vars(FakeCatalog()))

    def do_what_is_owed(self) -> None:
        """A pruning whose invocation was lost is made up for by the next night's, a telling by the next hour's, a look
        by day that was blind by the next day's, a copy and what follows from it by the next tick; also what follows
        once a pruning has let go of a mark.

        By then the lease of one that died has run out.
        """
        looked = self.catalog.find_preflight()
        if looked and looked.troubles:
            self.bus.doors.invoke("preflight", wire.preflight_payload())
        self.bus.doors.invoke("copy", wire.copy_payload())
        self.standby.bus.doors.tick()
        for region in (self, self.standby):
            region.catalog.leases.clear()
            region.call("prune", dry_run=False)
        self.standby.bus.doors.tick()
        for region in (self, self.standby):
            region.bus.doors.invoke("tell_operators", wire.telling_payload())

    def apply_in_fair_weather(self) -> None:
        """Before the first night, so that the plan's faults strike the nights."""
        self.weather.is_fair = True
        self.apply()
        self.weather.is_fair = False

    def memory(self) -> tuple[object, ...]:
        """Everything that outlives an invocation; the fencing numbers alone may grow."""
        return _memory_of(self), _memory_of(self.standby)


def _memory_of(region: Simulation | Standby) -> tuple[object, ...]:
    catalog = region.catalog
    return (
        {run_id: replace(run, version=0) for run_id, run in catalog.runs.items()},
        dict(catalog.results),
        dict(catalog.points),
        {about: replace(each, version=0) for about, each in catalog.told.items()},
        (list(region.alarms.heard), list(region.watch.pinged)),
        {key: replace(each, version=0) for key, each in catalog.recoveries.items()},
        dict(region.archive.objects),
        dict(region.volumes.volumes),
        dict(region.volumes.snapshots),
        {machine_id: box.machine for machine_id, box in region.machines.boxes.items()},
    )


def _is_waited_for(recovery: Recovery) -> bool:
    is_to_come_back = recovery.kind is RecoveryKind.RESTORE and recovery.verdict is None and recovery.address is None
    return is_to_come_back or recovery.kind is RecoveryKind.OPENING


def _to_the_full_hour(now: datetime) -> timedelta:
    """When a tick lets operators be told, too."""
    return now.replace(minute=0, second=0, microsecond=0) + AN_HOUR - now
