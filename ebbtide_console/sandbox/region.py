"""One region of the sandbox: its functions, its bus and schedule, its disks, machines and parameters."""

from dataclasses import dataclass

from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from ebbtide_console.sandbox.bus import Bus
from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.ebs import Disks
from ebbtide_console.sandbox.ec2 import Machines
from ebbtide_console.sandbox.geography import ACCOUNT
from ebbtide_console.sandbox.lambdas import Functions, Runtime
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import Store
from ebbtide_console.sandbox.schedule import Schedule
from ebbtide_console.sandbox.ssm import Parameters
from ebbtide_console.sandbox.substrate import Substrate


@dataclass(frozen=True)
class Ground:
    """What every region stands on."""

    substrate: Substrate
    store: Store
    clock: Clock
    runtime: Runtime


class Region:
    """`bus` loses events on demand, `schedule` disables or fires the tick, `functions` holds the dead letters."""

    def __init__(self, name: str, ground: Ground) -> None:
        self.name = name
        self.is_out = False
        self._clock = ground.clock
        work = ground.runtime.work
        self.functions = Functions(ACCOUNT, name, ground.runtime)
        self.bus = Bus(ground.clock, ACCOUNT, name, self.functions.later)
        self.schedule = Schedule(ground.clock, self.bus.rules, self.bus.fire)
        self._disks = Disks(ground.substrate, ground.store, ground.clock, work, self.bus)
        self._machines = Machines(ground.substrate, ground.clock, work, self.bus, self._disks)
        self._parameters = Parameters(ground.store)

    def install(self, overrides: Overrides) -> None:
        """Take over what moto has of this region."""
        ours = overrides.within(self.name)
        for part in (self.bus, self.functions, self._disks, self._machines, self._parameters):
            part.install(ours)

    def load(self) -> None:
        """Bring back what survived."""
        self._parameters.load(ssm_backends[ACCOUNT][self.name], self._clock.now())
        self._disks.load(ec2_backends[ACCOUNT][self.name])

    def go_out(self) -> None:
        """An outage: whoever asks gets no answer, no function runs, every machine stands still. What it holds stays."""
        self.is_out = True
        self.functions.go_out()
        self.schedule.stop()
        self._machines.go_out()

    def lose(self) -> None:
        """Everything that it holds is gone for good, after it has gone out: disks, parameters, table."""
        self._disks.lose(ec2_backends[ACCOUNT][self.name])
        self._parameters.lose(ssm_backends[ACCOUNT][self.name])
        dynamodb_backends[ACCOUNT][self.name].reset()
