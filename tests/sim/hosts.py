"""What the hosts do: cron at its minute, the name looked up at every attempt, a push, a report."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.core.model import RunId
from chalicelib.flows.briefed import find_briefed_run
from tests.fakes import FakeAddress
from tests.sim.faults import HostNight
from tests.sim.receiver import A_MINUTE, A_REPORT, Receiver, Surroundings, stood

CUT_OFF = timedelta(hours=4)


@dataclass
class Hosts:
    """Every host there is. `truth` is what each one's receiver believed, by run and host."""

    around: Surroundings
    address: FakeAddress
    receivers: list[Receiver]
    truth: dict[tuple[RunId, str], str] = field(default_factory=dict)

    def expect(self, host_id: str, name: str, address_name: str, opens: datetime, night: HostNight) -> None:
        """Cron calls the agent on this host, at its minute of this night."""
        visit = Visit(self, host_id, name, address_name, opens + night.at + CUT_OFF, night)
        if night.says is not None:
            self.around.agenda.at(opens + night.at, visit.attempt)
        if night.is_impersonated:
            self.around.agenda.at(opens + 2 * A_MINUTE, visit.impersonate)


@dataclass
class Visit:
    """One host on one night."""

    hosts: Hosts
    host_id: str
    name: str
    address_name: str
    until: datetime
    night: HostNight

    def attempt(self) -> None:
        """Tried again every minute, at whatever address the name has by then."""
        receiver = stood(self.hosts.receivers, self.hosts.address.names.get(self.address_name))
        agenda = self.hosts.around.agenda
        if receiver is not None and self.hosts.address.networks and receiver.admits(self.host_id):
            self.hosts.around.tell(f"{self.name} pushes to {receiver.box.machine.id}")
            receiver.begin(self.host_id)
            agenda.after(self.night.takes, lambda: self.finish(receiver))
        elif agenda.now < self.until and (receiver is None or self.host_id not in receiver.reported):
            agenda.after(A_MINUTE, self.attempt)

    def finish(self, receiver: Receiver) -> None:
        """The push is through, or the receiver is gone and it begins anew."""
        status = self.night.says
        if status is None or not receiver.admits(self.host_id):
            return self.attempt()
        self.hosts.around.tell(f"{self.name} reports {status}")
        status = receiver.record(self.host_id, status)
        self.hosts.truth.setdefault((receiver.run_id, self.host_id), status.value)
        for _ in range(self.night.reports - 1):
            receiver.say_report(self.name, self.host_id, status)
        return None

    def impersonate(self) -> None:
        """Someone writes a report in this host's name, and cannot know its nonce."""
        archive = self.hosts.around.archive
        for run_id in dict.fromkeys(each.run_id for each in self.hosts.receivers if each.is_alive):
            run = find_briefed_run(run_id, archive)
            assert run, "there is no receiver without a brief"
            report = {**A_REPORT, "run": str(run_id), "host": self.name, "id": self.host_id, "nonce": "0" * 32}
            key = wire.report_key(run, self.host_id)
            if archive.put_once(key, json.dumps(report).encode()):
                self.hosts.around.tell(f"someone forges {key}")
