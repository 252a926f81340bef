"""What is known of a run right now, gathered from every port.

Machines are looked at first: what they wrote before they went is then never missed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from ipaddress import ip_network
from typing import TypeVar

from chalicelib.core import tags
from chalicelib.core.backups import find_next_source, is_damaged
from chalicelib.core.model import Run, Volume
from chalicelib.core.night import MOST_ATTEMPTS
from chalicelib.core.night_world import NightWorld, attempt_of, has_received, is_made_for
from chalicelib.core.policy import Policy
from chalicelib.errors import TransientError
from chalicelib.flows.policies import get_policy
from chalicelib.flows.receive_report import Rejected, receive_reports
from chalicelib.flows.words import Words, find_briefed, hear, volumes_of
from chalicelib.ports import World

_Seen = TypeVar("_Seen")


@dataclass(frozen=True)
class Observation:
    night: NightWorld
    rejected: tuple[Rejected, ...]


def observe(run: Run, policy: Policy, world: World) -> Observation:
    receiver = policy.receivers[run.id.receiver]
    machines = world.machines.find({tags.ROLE: tags.Role.RECEIVER, tags.RUN: str(run.id)})
    volumes = _find_data_volumes(receiver.name, world)
    received = receive_reports(run, world)
    launched = max([run.machine_attempt, *map(attempt_of, machines)])
    words = hear(run, range(1, min(launched, MOST_ATTEMPTS) + 1), world)
    ready_with, damaged = volumes_of(words.ready), volumes_of(words.damaged)
    briefed = find_briefed(run.id, [*ready_with, *damaged, *(volume.id for volume in volumes)], world)
    notices = {attempt: notice for attempt, notice in words.released.items() if notice}
    # Route 53 takes five questions a second of a whole account, and fifty nights begin at the same minute.
    is_reachable = any(machine.address for machine in machines)
    night = NightWorld(
        receiver=receiver,
        networks=_networks(policy, world),
        zones=tuple(_zones(world)),
        volumes=volumes,
        newest=None,
        briefed=briefed,
        machines=tuple(machines),
        ready=frozenset(words.ready),
        released=frozenset(words.released),
        clean=frozenset(attempt for attempt, notice in notices.items() if notice.clean),
        address=_asked(partial(world.address.current, receiver.address_name), None) if is_reachable else None,
        open_to=_asked(world.address.open_to, ()) if is_reachable else (),
        results=received.results,
        snapshots=tuple(world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, tags.RUN: str(run.id)})),
        disk=notices[max(notices)].disk if notices else None,
        growing=frozenset(_growing(run, volumes, world)),
        # Once a receiver stood ready, no other has another volume.
        pushed_to=next((volume_id for volume_id in ready_with if volume_id in briefed), None),
        read_only=any(notice.read_only for notice in notices.values()),
        damaged=frozenset(words.damaged),
        unsound=briefed.intersection(damaged),
        refused=_why_refused(words),
        rejected=frozenset(rejected.host_id for rejected in received.rejected),
    )
    if not has_received(night):
        night = _with_newest_snapshot(night, run, world)
    return Observation(night, received.rejected)


def _why_refused(words: Words) -> dict[int, str]:
    return {attempt: word.why for attempt, word in words.refused.items() if word and word.why}


def _asked(look: Callable[[], _Seen], otherwise: _Seen) -> _Seen:
    """What cannot be seen just now is not as it should be, and is set: if that fails, too, it does so as the last step.

    A machine whose volume waited for the name as well would give up and go, and the next one after it.
    """
    try:
        return look()
    except TransientError:
        return otherwise


def _zones(world: World) -> Iterator[str]:
    """Of the subnets that there are. Of one that is gone the preflight tells by day, and no night needs it."""
    for subnet in world.settings.subnets:
        with suppress(KeyError):
            yield world.machines.zone_of(subnet)


def _find_data_volumes(receiver: str, world: World) -> tuple[Volume, ...]:
    found = world.volumes.find_volumes({tags.ROLE: tags.Role.DATA, tags.RECEIVER: receiver})
    return tuple(volume for volume in found if volume.state not in ("deleting", "deleted", "error"))


def _with_newest_snapshot(night: NightWorld, run: Run, world: World) -> NightWorld:
    """Nothing is made twice of what was damaged tonight, also where its mark was refused."""
    mine = {tags.RECEIVER: night.receiver.name}
    found = world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, **mine})
    aside = world.volumes.find_volumes({tags.ROLE: tags.Role.ASIDE, **mine})
    tried = {each.tags.get(tags.MADE_FROM) for each in aside if is_made_for(run, each)}
    return replace(
        night,
        newest=find_next_source([snapshot for snapshot in found if snapshot.id not in tried]),
        is_distrusted=bool(aside) or any(map(is_damaged, found)),
    )


def _growing(run: Run, volumes: Iterable[Volume], world: World) -> Iterator[str]:
    """Asked only in a night that let one grow, and until it is attached."""
    if run.growth_asked is not None:
        yield from (each.id for each in volumes if each.attached_to is None and world.volumes.is_growing(each.id))


def _networks(policy: Policy, world: World) -> tuple[str, ...]:
    """All receivers share one security group: it must let in every network that any of them expects.

    That is what the run's own policy says and what the one in force does: another receiver's run may be under that.
    """
    policies = (policy, _in_force(policy, world))
    receivers = (receiver for each in policies for receiver in each.receivers.values())
    return tuple(sorted({as_ec2_says(network) for receiver in receivers for network in receiver.allow}))


def _in_force(own: Policy, world: World) -> Policy:
    """Mostly the run's own, which need not be read again."""
    version = world.catalog.policy_version()
    return own if version in (None, own.version) else get_policy(str(version), world)


@cache
def as_ec2_says(network: str) -> str:
    """A network as a policy has it. Every look at every run asks for the same few."""
    return str(ip_network(network))
