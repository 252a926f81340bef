"""Hosts with volumes of their own: cron at its minute, a copy into the volume, a report of their own, a promise."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import own_run
from chalicelib.core.model import HostStatus, Run, RunId, RunState, Volume
from chalicelib.core.policy import HostPolicy
from chalicelib.fields import moment_text
from chalicelib.flows.own_runs import LOOK_BACK
from tests.sim.faults import OwnNight, of_list
from tests.sim.receiver import Surroundings
from tests.sim.volumes import MIXED

A_REPORT = json.loads((Path(__file__).parents[1] / "contract" / "wire" / "host-report.json").read_text())


@dataclass
class OwnHosts:
    """Every such host. `truth` is what each one reported, by run and host, beside what the receivers believed."""

    around: Surroundings
    truth: dict[tuple[RunId, str], str]
    volumes: list[Volume] = field(default_factory=list)
    promised: dict[str, datetime] = field(default_factory=dict)
    writing: set[str] = field(default_factory=set)
    reported: list[RunId] = field(default_factory=list)

    def furnish(self, hosts: Iterable[HostPolicy]) -> None:
        """What the operator makes and tags at their enrolment."""
        for host in hosts:
            tagged = {tags.ROLE: str(tags.Role.HOST), tags.HOST: host.id}
            volume = Volume(f"vol-{host.id}", "in-use", "zone-a", 50, host.instance_id, tagged)
            self.volumes.append(volume)
            self.around.volumes.volumes[volume.id] = volume
            self.around.volumes.content[volume.id] = {}

    def send_out(self, hosts: Iterable[HostPolicy], days: Iterable[date], planned: tuple[OwnNight, ...]) -> None:
        """Cron of every host on every day, in UTC."""
        visits = [(day, host) for day in days for host in hosts]
        for number, (day, host) in enumerate(visits):
            visit = OwnVisit(self, host, of_list(planned, number, OwnNight()))
            self.around.agenda.at(datetime.combine(day, time(tzinfo=UTC)) + visit.night.at, visit.begin)

    def gone(self) -> list[str]:
        """The volumes of theirs that somebody has deleted, or taken from their instances."""
        volumes = self.around.volumes.volumes
        return [each.id for each in self.volumes if volumes.get(each.id) != each]

    def unopened(self, runs: Iterable[Run]) -> list[RunId]:
        """What was reported, has no run yet, and will have one."""
        had, since = {run.id for run in runs}, self.around.agenda.now - LOOK_BACK
        return [run_id for run_id in self.reported if run_id not in had and run_id.day > since.date()]

    def failed_in_vain(self, run: Run) -> bool:
        """Whether the run failed though its host was complete: what the host says of itself is no failure of a run."""
        said = self.truth.get((run.id, run.hosts[0].id))
        return run.state is RunState.FAILED and (said is None or HostStatus(said).is_complete)


@dataclass
class OwnVisit:
    """One night of one host, which keeps its promises and does one thing at a time."""

    hosts: OwnHosts
    host: HostPolicy
    night: OwnNight

    @property
    def volume_id(self) -> str:
        return f"vol-{self.host.id}"

    def begin(self) -> None:
        around, until = self.hosts.around, self.hosts.promised.get(self.host.id)
        if until is not None and around.agenda.now < until:
            return around.agenda.at(until, self.begin)
        if self.host.id in self.hosts.writing:
            return around.tell(f"{self.host.name} is at it already")
        self.hosts.writing.add(self.host.id)
        around.tell(f"{self.host.name} writes to {self.volume_id}")
        around.volumes.content[self.volume_id][self.host.id] = MIXED
        return around.agenda.after(self.night.takes, self.finish)

    def finish(self) -> None:
        status, around = self.night.says, self.hosts.around
        self.hosts.writing.discard(self.host.id)
        if status is None:
            return
        run_id = own_run(self.host.id, around.agenda.now)
        if status.is_complete:
            around.volumes.content[self.volume_id][self.host.id] = str(run_id)
        around.tell(f"{self.host.name} reports {status}")
        self.hosts.truth[(run_id, self.host.id)] = status.value
        self.hosts.promised[self.host.id] = around.agenda.now + self.night.quiet
        self.hosts.reported.append(run_id)
        around.archive.put_once(wire.host_report_key(run_id), self._report(run_id, status))
        detail = {"schema": 1, "run": str(run_id), "host": self.host.name, "id": self.host.id, "status": status.value}
        for _ in range(self.night.events):
            around.emit(f"ebbtide.host.{self.host.id}", "Ebbtide Host Report", detail)

    def _report(self, run_id: RunId, status: HostStatus) -> bytes:
        now = self.hosts.around.agenda.now
        volume = {
            **A_REPORT["volume"],
            "id": self.volume_id if self.night.knows_its_volume else "vol-another",
            "unmounted": self.night.lets_go,
            "quiet_until": moment_text(now + self.night.quiet),
            "manifest": {**A_REPORT["volume"]["manifest"], "key": f"manifests/{self.host.id}/{run_id}.jsonl.gz"},
        }
        told = {"run": str(run_id), "host": self.host.name, "id": self.host.id, "status": status.value}
        when = {"started": moment_text(now - self.night.takes), "finished": moment_text(now)}
        return json.dumps({**A_REPORT, **told, **when, "volume": volume}).encode()
