"""What a receiver does of itself: boot, find its volume, stand ready, take reports, let go, power itself off.

The real one is `agent/ebbtide_agent/receiver/`; what it writes is what `tests/contract/wire/` shows.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import parse_run
from chalicelib.core.model import HostStatus, Run, RunId
from chalicelib.fields import moment_text
from tests.fakes import FakeArchive
from tests.sim.clock import Agenda
from tests.sim.machines import Box, SimMachines
from tests.sim.volumes import MIXED, SimVolumes

A_MINUTE = timedelta(minutes=1)
# As long as the real one waits for its volume.
LOOKS_FOR_THE_VOLUME = 10
A_REPORT = json.loads((Path(__file__).parents[1] / "contract" / "wire" / "report.json").read_text())

Emit = Callable[[str, str, dict[str, Any]], None]


@dataclass
class Surroundings:
    """What a machine reaches: the clock, EC2 through itself, its disk, the archive, the bus."""

    agenda: Agenda
    machines: SimMachines
    volumes: SimVolumes
    archive: FakeArchive
    emit: Emit
    tell: Callable[[str], None]


@dataclass
class Receiver:
    """One machine of one run."""

    box: Box
    around: Surroundings
    stands: bool = False
    is_read_only: bool = False
    reported: set[str] = field(default_factory=set)
    run: Run = field(init=False)
    volume_id: str = field(init=False)
    looks_through: bool = field(init=False)

    @property
    def run_id(self) -> RunId:
        return parse_run(self.box.machine.tags[tags.RUN])

    @property
    def is_alive(self) -> bool:
        return self.box.machine.state == "running"

    def start(self) -> None:
        """EC2 says running. The power-off timer is armed before anything else."""
        if self.box.life.dies_after is not None:
            self.around.agenda.after(self.box.life.dies_after, self._die)
        if self.box.life.stopped_after is not None:
            self.around.agenda.after(self.box.life.stopped_after, self._stop)
        if self.box.life.breaks_after is not None:
            self.around.agenda.after(self.box.life.breaks_after, self._break)
        self.around.agenda.after(self.box.life.boots_in, self._boot)

    def _boot(self) -> None:
        if not self.is_alive:
            return
        if not self.box.life.hangs:
            self.around.agenda.after(power_off_timer(self.box), self._power_off)
        body = self.around.archive.get(told_of(self.box, "BRIEF"))
        self.run = wire.parse_run_brief(body)
        told = json.loads(body)["volume"]
        self.volume_id, self.looks_through = told["id"], told["distrusted"]
        if self.box.life.refuses:
            self._note("refused", why=self.box.life.refuses)
            self._power_off()
        elif self.box.life.gets_ready:
            self._find_volume(LOOKS_FOR_THE_VOLUME)

    def _find_volume(self, looks: int) -> None:
        if not self.is_alive:
            return
        if self.around.volumes.has_device(self.volume_id, self.box.machine.id):
            self._check()
        elif looks:
            self.around.agenda.after(A_MINUTE, lambda: self._find_volume(looks - 1))
        else:
            self.around.tell(f"{self.box.machine.id} has seen no volume")
            self._power_off()

    def _check(self) -> None:
        volumes = self.around.volumes
        is_missed = self.volume_id in volumes.latent and not self.looks_through
        if self.volume_id not in volumes.damaged or is_missed:
            return self._stand()
        self._note("damaged", volume={"id": self.volume_id})
        return self._power_off()

    def _stand(self) -> None:
        """A second machine of the run does not wait for those that the first one has recorded."""
        listed = self.around.archive.list(wire.report_prefix(self.run))
        self.reported = {key.rsplit("/", 1)[-1].removesuffix(".json") for key in listed}
        self.stands = True
        self._note("ready", volume={"id": self.volume_id})
        self.around.agenda.at(self.run.deadline, self._release)
        self._release_when_all_have_reported()

    # -- what the gate does

    def admits(self, host_id: str) -> bool:
        """Also in the middle of a push: a receiver that is gone ends its sessions."""
        is_expected = any(host.id == host_id for host in self.run.hosts)
        return self.stands and is_expected and host_id not in self.reported

    def begin(self, host_id: str) -> None:
        if self.volume_id in self.around.volumes.latent:
            # What the kernel finds it writes down, for the next check.
            self.around.volumes.latent.remove(self.volume_id)
            self._break()
        if self.is_read_only:
            return
        self.around.volumes.content[self.volume_id][host_id] = MIXED

    def record(self, host_id: str, said: HostStatus) -> HostStatus:
        """The tree is durable first, then the archive knows, then the event goes out. Returns what was recorded."""
        status = HostStatus.FAILED if self.is_read_only else said
        if status.is_complete:
            self.around.volumes.content[self.volume_id][host_id] = str(self.run_id)
        host = next(host for host in self.run.hosts if host.id == host_id)
        report = {**A_REPORT, "run": str(self.run_id), "host": host.name, "id": host.id, "nonce": host.nonce}
        manifest = {
            **A_REPORT["receiver"]["manifest"],
            "key": f"manifests/{host.id}/{self.run_id}/{self.run.nonce}.jsonl.gz",
        }
        received = {**A_REPORT["receiver"], "manifest": manifest}
        body = json.dumps({**report, "receiver": received, "status": status.value}).encode()
        self.around.archive.put_once(wire.report_key(self.run, host_id), body)
        self.reported.add(host_id)
        self.say_report(host.name, host_id, status)
        self._release_when_all_have_reported()
        return status

    def say_report(self, name: str, host_id: str, status: HostStatus) -> None:
        detail = {"schema": 1, "run": str(self.run_id), "host": name, "id": host_id, "status": status.value}
        self.around.emit(f"ebbtide.receiver.{self.run_id.receiver}", "Ebbtide Host Report", detail)

    # -- the end

    def _release_when_all_have_reported(self) -> None:
        if self.reported >= {host.id for host in self.run.hosts}:
            self.around.agenda.after(timedelta(seconds=5), self._release)

    def _release(self) -> None:
        if not self.is_alive or not self.stands:
            return
        self.stands = False
        if self.box.life.releases:
            disk = vars(self.around.volumes.measure(self.volume_id))
            self._note("released", clean=self.box.life.lets_go, disk=disk, read_only=self.is_read_only)
            detail = {"schema": 1, "run": str(self.run_id), "attempt": self._attempt}
            self.around.emit(f"ebbtide.receiver.{self.run_id.receiver}", "Ebbtide Receiver Released", detail)
        if not self.box.life.hangs:
            self._power_off()

    def _power_off(self) -> None:
        self.stands = False
        self.around.machines.terminate(self.box.machine.id)

    def _die(self) -> None:
        if self.is_alive:
            self.around.tell(f"{self.box.machine.id} is lost")
            self._power_off()

    def _stop(self) -> None:
        """Before it stands ready there is nothing to let go of, and nothing to say."""
        if self.stands:
            return self._release()
        return self._power_off()

    def _break(self) -> None:
        self.is_read_only = True

    @property
    def _attempt(self) -> int:
        return int(self.box.machine.tags[tags.ATTEMPT])

    def _note(self, what: str, **more: object) -> None:
        self.around.tell(f"{self.box.machine.id} is {what}")
        notice = {"schema": 1, "run": str(self.run_id), "attempt": self._attempt, "at": self._now(), **more}
        said = told_of(self.box, "NONCE")
        key = wire.word_key(replace(self.run, nonce=said), what, self._attempt)
        self.around.archive.put_once(key, json.dumps(notice).encode())

    def _now(self) -> str:
        return moment_text(self.around.agenda.now)


def told_of(box: Box, name: str) -> str:
    """What the boot script was told."""
    match = re.search(f"{name}='([^']+)'", box.request.user_data)
    assert match, f"every machine of ours is told of {name}"
    return match[1]


def power_off_timer(box: Box) -> timedelta:
    return int(told_of(box, "POWER_OFF_MINUTES")) * A_MINUTE


def stood(receivers: "list[Receiver]", address: str | None) -> Receiver | None:
    """Who answers at this address."""
    return next((each for each in receivers if each.stands and each.box.machine.address == address), None)
