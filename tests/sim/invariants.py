"""What must hold, whatever went wrong: nine invariants after every simulated night, and a tenth at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import HostStatus, Recovery, RecoveryKind, RestorePoint, Run, RunState
from chalicelib.core.night import GRACE
from chalicelib.core.one_snapshot import GIVE_UP
from chalicelib.core.sweep import GRACE as GRACE_OF_THE_SWEEP
from chalicelib.flows.forget import find_forgotten
from tests.sim.faults import NO_TIME, FaultPlan
from tests.sim.machines import ZONES, Box
from tests.sim.night import A_TICK, AN_HOUR, Simulation
from tests.sim.standby import Standby
from tests.sim.volumes import SimVolumes


@dataclass
class Invariants:
    """`protected` remembers every host that ever had a restore point, here and there."""

    sim: Simulation
    protected: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))

    def check(self) -> None:
        """After a night. Raises AssertionError with the number of what does not hold, the scenario and the story."""
        self._hold(self.i1, self.i2, self.i3, self.i4, self.i5, self.i6, self.i7, self.i8, self.i9)

    def check_the_end(self) -> None:
        """Once there was time for the slowest copy. Raises as the others do."""
        self._hold(self.i10)

    def _hold(self, *invariants: Callable[[], None]) -> None:
        for invariant in invariants:
            try:
                invariant()
            except AssertionError as fault:
                raise AssertionError(
                    f"{invariant.__doc__}\n{fault}\n\n{self.sim.scenario!r}\n\n{self.sim.story}"
                ) from None

    def i1(self) -> None:
        """I1: the last complete snapshot of a host is never deleted, nor any other that something still keeps."""
        forgotten = find_forgotten(self.sim.truth)
        for region, protected in zip(self._regions, self.protected, strict=True):
            points = region.catalog.find_points()
            protected |= {point.host_id for point in points}
            protected -= forgotten
            standing = {point.host_id for point in points if point.snapshot_id in region.volumes.snapshots}
            assert standing >= protected, f"lost: {protected - standing}"
        assert not self.sim.torn, f"deleted: {self.sim.torn}"
        assert self.sim.held <= self.sim.volumes.snapshots.keys(), f"held: {self.sim.held}"

    def i2(self) -> None:
        """I2: a run adopts one snapshot at most."""
        adopted = {run.id: run.snapshot_id for run in self.sim.runs()}
        for point in self.sim.catalog.find_points():
            assert adopted[point.run] == point.snapshot_id, f"{point} beside {adopted[point.run]}"

    def i3(self) -> None:
        """I3: no receiver runs past its deadline and grace, and no opening past its time."""
        deadlines = {str(run.id): run.deadline + GRACE for run in self.sim.runs()}
        openings = [each for each in self._recoveries() if each.kind is RecoveryKind.OPENING]
        deadlines |= {str(each.id): each.deadline + GRACE_OF_THE_SWEEP for each in openings}
        for region, plan in zip(self._regions, (self.sim.scenario.plan, self.sim.standby.plan), strict=True):
            for box in region.machines.boxes.values():
                deadline = deadlines.get(str(_owner(box.machine.tags)))
                latest = deadline and deadline + allowance(plan)
                assert not latest or self._end_of(box) <= latest, f"{box.machine.id} ran on, not until {latest}"

    def i4(self) -> None:
        """I4: nothing is left of what has ended."""
        over = {str(run.id) for run in self.sim.runs() if run.state.is_final}
        over |= {str(each.id) for each in self._recoveries() if each.state.is_final}
        boxes = [box for region in self._regions for box in region.machines.boxes.values()]
        left = [box.machine for box in boxes if _owner(box.machine.tags) in over]
        assert all(machine.state == "terminated" for machine in left), f"left standing: {left}"
        for name in self.sim.policy.receivers:
            data = self._data_volumes(name)
            assert len(data) <= self._most_data_volumes(name), f"data volumes of {name}: {data}"
        volumes = [volume for region in self._regions for volume in region.volumes.volumes.values()]
        kept = [volume.id for volume in volumes if _owner(volume.tags) in self._over_and_swept()]
        assert not kept, f"volumes left: {kept}"
        assert not self.sim.own_hosts.gone(), f"taken from their hosts: {self.sim.own_hosts.gone()}"

    def _over_and_swept(self) -> set[str]:
        """The runs and recoveries that ended so long ago that a sweep must have seen it.

        What EC2 does not show yet when its maker ends, for instance by a second call that is denied, is the sweep's.
        """
        plans = (self.sim.scenario.plan, self.sim.standby.plan)
        shows_at_once = not any(plan.calls or plan.pace.to_show for plan in plans)
        sweeps = GRACE_OF_THE_SWEEP + AN_HOUR + allowance(self.sim.scenario.plan)
        latest = self.sim.agenda.now - (NO_TIME if shows_at_once else sweeps)
        ended = [each for each in (*self.sim.runs(), *self._recoveries()) if each.state.is_final]
        return {str(each.id) for each in ended if each.closed is not None and each.closed <= latest}

    def i5(self) -> None:
        """I5: a restore point is a whole tree of its own run, reported with the nonce, in a completed snapshot."""
        for point, volumes in self._points():
            snapshot = volumes.snapshots[point.snapshot_id]
            held = volumes.content[point.snapshot_id].get(point.host_id)
            reported = self.sim.hosts.truth.get((point.run, point.host_id))
            assert snapshot.state == "completed", snapshot
            assert held == str(point.run), f"{point.snapshot_id} holds {held} of {point.host_id}"
            assert reported is not None and HostStatus(reported).is_complete, f"{point.host_id} reported {reported}"

    def i6(self) -> None:
        """I6: every run ends."""
        for run in self._open():
            latest = run.deadline + GIVE_UP + allowance(self.sim.scenario.plan)
            assert self.sim.agenda.now <= latest, f"{run.id} is still open"

    def i7(self) -> None:
        """I7: silence alarms: the archive says how each run ended, failures are told, and no ping hides one."""
        closed = [run for run in self.sim.runs() if run.state.is_final and run.closed]
        for run in closed:
            assert wire.parse_closed(self.sim.archive.get(wire.closed_key(run.id))).state is run.state
        for run in self.sim.untold():
            latest = (run.closed or run.deadline) + to_tell(self.sim.scenario.plan)
            assert self.sim.agenda.now <= latest, f"nobody was told that {run.id} failed"
        for ping in self.sim.watch.pinged:
            # Of what closes in the moment of a ping, some may be older than the ping and some not.
            before = [run for run in closed if run.closed and run.closed < ping]
            by_then = [run for run in closed if run.closed and run.closed <= ping]
            assert self._is_good_news(before) or self._is_good_news(by_then), f"pinged at {ping}"

    def i8(self) -> None:
        """I8: what is known of a host comes from that host."""
        for (run_id, host_id), result in self.sim.catalog.results.items():
            reported = self.sim.hosts.truth.get((run_id, host_id))
            assert result.status.value == reported, f"{host_id} said {reported}, recorded is {result}"

    def i9(self) -> None:
        """I9: whatever was delivered may be delivered again, in any order, and changes nothing more."""
        # Only when all is closed: what is open may well go on.
        if self._open() or any(not each.state.is_final for each in self._recoveries()):
            return
        for region in self._regions:
            region.weather.is_fair = True
        self.sim.do_what_is_owed()
        before = self.sim.memory()
        knocks = [knock for region in self._regions for knock in region.bus.delivered.values()]
        Random(len(knocks)).shuffle(knocks)
        for knock in knocks:
            knock()
        for region in self._regions:
            region.weather.is_fair = False
            region.bus.delivered.clear()
        assert self.sim.memory() == before, "playing everything again has changed something"

    def i10(self) -> None:
        """I10: what the copies' rules want in the second region is there, and known there as restore points."""
        uncopied = [snapshot.id for snapshot in self.sim.uncopied()]
        assert not uncopied, f"never copied: {uncopied}"
        assert not self.sim.unfollowed(), f"no restore points: {self.sim.unfollowed()}"

    @property
    def _regions(self) -> tuple[Simulation, Standby]:
        return self.sim, self.sim.standby

    def _points(self) -> list[tuple[RestorePoint, SimVolumes]]:
        """Of both regions, each with the volumes of its own."""
        return [(point, region.volumes) for region in self._regions for point in region.catalog.find_points()]

    def _recoveries(self) -> list[Recovery]:
        return [each for region in self._regions for each in region.catalog.find_recoveries()]

    def _is_good_news(self, closed: list[Run]) -> bool:
        """Whether of these the newest run of everyone was no failure, and the one that closed last was good.

        A run of a host's own may close after its next one; what became of it then matters no more.
        """
        newest = {run.id.receiver: run for run in sorted(closed, key=lambda run: (run.id.day, run.id.attempt))}
        latest = max(newest.values(), key=lambda run: (run.closed, run.id), default=None)
        is_good = latest is not None and latest.state is RunState.DONE
        return is_good and not any(self.sim.is_failure(run) for run in newest.values())

    def _data_volumes(self, receiver: str) -> list[str]:
        """Those of every night: a run's and a recovery's own, and what was set aside, are not among them."""
        every = self.sim.volumes.volumes.values()
        volumes = [each for each in every if not _owner(each.tags) and each.tags.get(tags.ROLE) != tags.Role.ASIDE]
        return [each.id for each in volumes if each.tags.get(tags.RECEIVER) == receiver]

    def _most_data_volumes(self, receiver: str) -> int:
        """One, or none between ephemeral nights; after a night that was not good each zone may keep one."""
        (newest, *_) = self.sim.catalog.find_runs(receiver, 1) or [None]
        if newest is None or newest.state is not RunState.DONE:
            return len(ZONES)
        return 0 if self.sim.policy.receivers[receiver].volume.mode == "ephemeral" else 1

    def _end_of(self, box: Box) -> datetime:
        return box.ended or self.sim.agenda.now

    def _open(self) -> list[Run]:
        return [run for run in self.sim.runs() if not run.state.is_final]


def _owner(tagged: dict[str, str]) -> str | None:
    return tagged.get(tags.RUN) or tagged.get(tags.RECOVERY)


def to_tell(plan: FaultPlan) -> timedelta:
    """How late operators may be told: by the next hour's tick that comes through."""
    lost = sum(fate.copies == 0 for fate in plan.invocations) + sum(fault.times for fault in plan.calls)
    return allowance(plan) + (1 + lost) * AN_HOUR


def allowance(plan: FaultPlan) -> timedelta:
    """How late the control plane may be: a tick or two, and as long as the plan itself keeps it from acting."""
    silent = sum((until - since for since, until in plan.silences), NO_TIME)
    failing = sum(fault.times for fault in plan.calls) * A_TICK
    late = max(fate.late for fate in plan.invocations) + len(plan.invocations) * A_TICK
    return 3 * A_TICK + silent + failing + late + plan.pace.to_show
