"""What must hold after every simulated night, whatever went wrong: the nine invariants, each with its number."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import HostStatus, Run
from chalicelib.core.night import GIVE_UP, GRACE
from tests.sim.faults import NO_TIME, FaultPlan
from tests.sim.machines import Box
from tests.sim.night import A_TICK, Simulation


@dataclass
class Invariants:
    """Checked after every night. `protected` remembers every host that ever had a restore point."""

    sim: Simulation
    protected: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Raises AssertionError with the number of what does not hold, the scenario and the story."""
        for invariant in (self.i1, self.i2, self.i3, self.i4, self.i5, self.i6, self.i7, self.i8, self.i9):
            try:
                invariant()
            except AssertionError as fault:
                raise AssertionError(
                    f"{invariant.__doc__}\n{fault}\n\n{self.sim.scenario!r}\n\n{self.sim.story}"
                ) from None

    def i1(self) -> None:
        """I1: the last complete snapshot of a host is never deleted."""
        points = self.sim.catalog.find_points()
        self.protected |= {point.host_id for point in points}
        standing = {point.host_id for point in points if point.snapshot_id in self.sim.volumes.snapshots}
        assert standing >= self.protected, f"lost: {self.protected - standing}"

    def i2(self) -> None:
        """I2: a run adopts one snapshot at most."""
        adopted = {run.id: run.snapshot_id for run in self.sim.runs()}
        for point in self.sim.catalog.find_points():
            assert adopted[point.run] == point.snapshot_id, f"{point} beside {adopted[point.run]}"

    def i3(self) -> None:
        """I3: no receiver runs past its deadline and grace."""
        deadlines = {str(run.id): run.deadline for run in self.sim.runs()}
        for box in self._machines_of(tags.Role.RECEIVER):
            latest = deadlines[box.machine.tags[tags.RUN]] + GRACE + allowance(self.sim.scenario.plan)
            assert self._end_of(box) <= latest, f"{box.machine.id} ran until {self._end_of(box)}, not {latest}"

    def i4(self) -> None:
        """I4: nothing is left of what has ended."""
        over = {str(run.id) for run in self.sim.runs() if run.state.is_final}
        over |= {str(each.id) for each in self.sim.catalog.find_recoveries() if each.state.is_final}
        left = [box.machine for box in self.sim.machines.boxes.values() if _owner(box.machine.tags) in over]
        assert all(machine.state == "terminated" for machine in left), f"left standing: {left}"
        data = [volume.tags[tags.RECEIVER] for volume in self.sim.volumes.volumes.values() if not _owner(volume.tags)]
        assert len(data) == len(set(data)), f"data volumes of {data}"
        kept = [volume.id for volume in self.sim.volumes.volumes.values() if _owner(volume.tags) in over]
        assert not kept, f"volumes left: {kept}"

    def i5(self) -> None:
        """I5: a restore point is a whole tree of its own run, reported with the nonce, in a completed snapshot."""
        for point in self.sim.catalog.find_points():
            snapshot = self.sim.volumes.snapshots[point.snapshot_id]
            held = self.sim.volumes.content[point.snapshot_id].get(point.host_id)
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
        """I7: no run ends in silence: the archive says how each one ended."""
        for run in self.sim.runs():
            if run.state.is_final:
                assert wire.parse_closed(self.sim.archive.get(wire.closed_key(run.id))).state is run.state

    def i8(self) -> None:
        """I8: what is known of a host comes from that host."""
        for (run_id, host_id), result in self.sim.catalog.results.items():
            reported = self.sim.hosts.truth.get((run_id, host_id))
            assert result.status.value == reported, f"{host_id} said {reported}, recorded is {result}"

    def i9(self) -> None:
        """I9: whatever was delivered may be delivered again, in any order, and changes nothing more."""
        # Only when all is closed: what is open may well go on.
        if self._open() or any(not each.state.is_final for each in self.sim.catalog.find_recoveries()):
            return
        self.sim.weather.is_fair = True
        self.sim.do_what_is_owed()
        before = self.sim.memory()
        knocks = list(self.sim.bus.delivered.values())
        Random(len(knocks)).shuffle(knocks)
        for knock in knocks:
            knock()
        self.sim.weather.is_fair = False
        self.sim.bus.delivered.clear()
        assert self.sim.memory() == before, "playing everything again has changed something"

    def _machines_of(self, role: tags.Role) -> list[Box]:
        return [box for box in self.sim.machines.boxes.values() if box.machine.tags[tags.ROLE] == role]

    def _end_of(self, box: Box) -> datetime:
        return box.ended or self.sim.agenda.now

    def _open(self) -> list[Run]:
        return [run for run in self.sim.runs() if not run.state.is_final]


def _owner(tagged: dict[str, str]) -> str | None:
    return tagged.get(tags.RUN) or tagged.get(tags.RECOVERY)


def allowance(plan: FaultPlan) -> timedelta:
    """How late the control plane may be: a tick or two, and as long as the plan itself keeps it from acting."""
    silent = sum((until - since for since, until in plan.silences), NO_TIME)
    failing = sum(fault.times for fault in plan.calls) * A_TICK
    late = max(fate.late for fate in plan.invocations) + len(plan.invocations) * A_TICK
    return 3 * A_TICK + silent + failing + late + plan.pace.to_show
