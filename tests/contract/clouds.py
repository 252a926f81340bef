"""The same ports twice: before moto, and in the simulator. What a test says of both, the simulator may rely on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.aws.address import Route53Address
from chalicelib.aws.copies import Ec2Copies
from chalicelib.aws.entrances import Ec2Entrances
from chalicelib.aws.machines import Ec2Machines
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.ports import Address, Copies, Entrances, Machines, Volumes
from tests.contract.aws import REGION, Account
from tests.fakes import FakeAddress, FakeEntrances
from tests.sim.night import Scenario, Simulation

BOTH = ("moto", "simulator")


@dataclass(frozen=True)
class Cloud:
    """`settle` lets the time pass that EC2 and EBS need; moto needs none."""

    machines: Machines
    volumes: Volumes
    copies: Copies
    address: Address
    entrances: Entrances
    subnet: str
    group: str
    settle: Callable[[], None]


def motos(account: Account) -> Cloud:
    return Cloud(
        machines=Ec2Machines(account.clients, account.launch_template),
        volumes=EbsVolumes(account.clients),
        copies=Ec2Copies(account.clients, REGION),
        address=Route53Address(account.clients, account.zone, account.group),
        entrances=Ec2Entrances(account.clients, account.group),
        subnet=account.subnet,
        group=account.group,
        settle=lambda: None,
    )


def the_simulators() -> Cloud:
    sim = Simulation(Scenario())
    sim.machines.on_running = lambda box: None
    sim.machines.emit = sim.volumes.emit = sim.standby.volumes.emit = lambda source, kind, detail: None
    return Cloud(
        machines=sim.machines,
        volumes=sim.volumes,
        copies=sim.copies,
        address=FakeAddress(),
        entrances=FakeEntrances(),
        subnet=sim.world.settings.subnets[0],
        group=sim.world.settings.receiver_group,
        settle=lambda: sim.agenda.run_until(sim.agenda.now + timedelta(minutes=5)),
    )
