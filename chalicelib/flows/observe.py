"""What is known of a run right now, gathered from every port.

Machines are looked at first: what they wrote before they went is then never missed.
"""

from dataclasses import dataclass

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Run, Volume
from chalicelib.core.night import NightWorld
from chalicelib.core.policy import Policy
from chalicelib.flows.receive_report import Rejected, receive_reports
from chalicelib.ports import World


@dataclass(frozen=True)
class Observation:
    night: NightWorld
    rejected: tuple[Rejected, ...]


def observe(run: Run, policy: Policy, world: World) -> Observation:
    receiver = policy.receivers[run.id.receiver]
    machines = world.machines.find({tags.ROLE: tags.Role.RECEIVER, tags.RUN: str(run.id)})
    volume = find_data_volume(receiver.name, world)
    received = receive_reports(run, world)
    keys = world.archive.list(wire.run_prefix(run.id))
    night = NightWorld(
        receiver=receiver,
        networks=_networks(policy),
        volume=volume,
        briefed=wire.brief_key(run.id) in keys,
        machines=tuple(machines),
        ready=wire.notice_attempts(keys, "ready"),
        released=wire.notice_attempts(keys, "released"),
        address=world.address.current(receiver.address_name),
        results=received.results,
        snapshots=tuple(world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, tags.RUN: str(run.id)})),
    )
    return Observation(night, received.rejected)


def find_data_volume(receiver: str, world: World) -> Volume | None:
    """The receiver's own; should there be two, always the same one."""
    found = world.volumes.find_volumes({tags.ROLE: tags.Role.DATA, tags.RECEIVER: receiver})
    usable = (volume for volume in found if volume.state not in ("deleting", "deleted", "error"))
    return min(usable, key=lambda volume: volume.id, default=None)


def _networks(policy: Policy) -> tuple[str, ...]:
    """All receivers share one security group: it must let in every network that any of them expects."""
    return tuple(sorted({network for receiver in policy.receivers.values() for network in receiver.allow}))
