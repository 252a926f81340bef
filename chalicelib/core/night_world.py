"""What a night's next step depends on, observed just now, and what one may ask of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib.core import tags
from chalicelib.core.model import Disk, HostResult, HostStatus, Machine, Run, Snapshot, Volume
from chalicelib.core.policy import ReceiverPolicy


@dataclass(frozen=True)
class NightWorld:
    """`zones` are those of the deployment's subnets that there are, the preferred one first; `briefed` are ids of
    volumes.

    `volumes` are the receiver's own in whatever zone; `newest` is its last completed snapshot, which is looked up only
    until a receiver has received anything: afterwards no volume is made from it any more. `ready`, `released` and
    `clean` are attempts: who said so, and who of those that released could let go of the volume cleanly. `networks`
    are those the receivers' port should be open to, `open_to` those it is; it and `address`, what the receiver's name
    points to, are looked up only while a machine has an address of its own. `disk` is what the last one that released
    has measured, `growing` are the ids of volumes that EBS is still enlarging; `pushed_to` is the id of the volume that
    a receiver of this run stood ready with, if one said so; `read_only` whether it has turned read-only since.
    `damaged` are the attempts whose receiver found its volume damaged, `unsound` the ids of those volumes; `refused`
    is what receivers that let nobody in said of why, by the attempt; `rejected` are the ids of the hosts whose report
    of this run does not count;
    `is_distrusted` is what snapshots hold once there are any, tonight or before, and `newest` is then the last one with
    restore points that was not found damaged itself.
    """

    receiver: ReceiverPolicy
    networks: tuple[str, ...]
    zones: tuple[str, ...]
    volumes: tuple[Volume, ...]
    newest: Snapshot | None
    briefed: frozenset[str]
    machines: tuple[Machine, ...]
    ready: frozenset[int]
    released: frozenset[int]
    clean: frozenset[int]
    address: str | None
    open_to: tuple[str, ...]
    results: tuple[HostResult, ...]
    snapshots: tuple[Snapshot, ...]
    disk: Disk | None = None
    growing: frozenset[str] = frozenset()
    pushed_to: str | None = None
    read_only: bool = False
    damaged: frozenset[int] = frozenset()
    unsound: frozenset[str] = frozenset()
    is_distrusted: bool = False
    refused: Mapping[int, str] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()


# -- machines ----------------------------------------------------------------------------------------------------------


def attempt_of(made: Machine | Volume) -> int:
    """The attempt that this was made for; 0 when its tag does not say."""
    text = made.tags.get(tags.ATTEMPT, "")
    return int(text) if text.isdecimal() else 0


def latest_attempt(run: Run, world: NightWorld) -> int:
    """What EC2 and the archive show counts as much as the record: a rebuilt run has forgotten its attempts."""
    return max(run.machine_attempt, last_machine(world))


def last_machine(world: NightWorld) -> int:
    """The latest attempt that had one, as far as EC2 or the archive show it: one that was only claimed has touched
    nothing. 0 when there was none."""
    spoke = (*world.ready, *world.released, *world.damaged, *world.refused)
    return max([*spoke, *map(attempt_of, world.machines)], default=0)


def is_spent(attempt: int, world: NightWorld) -> bool:
    """Whether the machine of this attempt has come and gone: as far as EC2 still shows it, or it has said so itself."""
    return attempt in world.released or any(attempt_of(machine) >= attempt for machine in world.machines)


def standing(machines: Iterable[Machine]) -> tuple[Machine, ...]:
    """Every machine that is not gone, the latest attempt last."""
    return tuple(sorted((machine for machine in machines if not machine.is_gone), key=attempt_of))


def has_received(world: NightWorld) -> bool:
    """Whether a receiver ever was ready: EC2 forgets the terminated within the hour, the archive does not.

    Only from then on may the volume hold what no snapshot does.
    """
    return bool(world.ready or world.released or world.results)


# -- hosts -------------------------------------------------------------------------------------------------------------


def missing_hosts(run: Run, results: Iterable[HostResult]) -> tuple[str, ...]:
    """The names of the expected hosts that have not reported, in the run's order."""
    reported = {result.id for result in results}
    return tuple(host.name for host in run.hosts if host.id not in reported)


def awaited_hosts(run: Run, world: NightWorld) -> tuple[str, ...]:
    """The names of those that a receiver waits for: to it a host whose report is rejected here has reported."""
    missing = missing_hosts(run, world.results)
    return tuple(host.name for host in run.hosts if host.name in missing and host.id not in world.rejected)


def complete_results(run: Run, results: Iterable[HostResult]) -> tuple[HostResult, ...]:
    """The results of the expected hosts that are complete."""
    expected = {host.id for host in run.hosts}
    return tuple(result for result in results if result.id in expected and result.status.is_complete)


def status_of(host_id: str, results: Iterable[HostResult]) -> HostStatus:
    """How an expected host's night stands; missing when it has not reported."""
    return next((result.status for result in results if result.id == host_id), HostStatus.MISSING)


# -- volumes and zones -------------------------------------------------------------------------------------------------


def held_volume(run: Run, world: NightWorld) -> Volume | None:
    """The one an earlier night has left: of several the latest made, because it holds the latest push; and of several
    made for one night that which was snapshotted last."""
    snapshotted = world.newest.volume_id if world.newest else None
    held = (volume for volume in world.volumes if not is_made_for(run, volume))
    return max(held, key=lambda each: (*_by_night(each), each.id == snapshotted, each.id), default=None)


def _by_night(volume: Volume) -> tuple[str, int]:
    """The date, then the attempt on it as a number; one that does not say is older than all that do."""
    day, _, attempt = volume.tags.get(tags.MADE_FOR, "").rpartition("/")
    return day, int(attempt) if attempt.isdecimal() else 0


def is_made_for(run: Run, volume: Volume) -> bool:
    return volume.tags.get(tags.MADE_FOR) == str(run.id)


def find_source(run: Run, volume_id: str, world: NightWorld) -> str | None:
    """The snapshot that such a volume was made from tonight: one from an earlier night was pushed to since."""
    made = (volume for volume in world.volumes if volume.id == volume_id and is_made_for(run, volume))
    return next((volume.tags.get(tags.MADE_FROM) for volume in made), None)


def distrusts(run: Run, volume_id: str, world: NightWorld) -> bool:
    """Whether a volume is to be looked through before it is pushed to, though its file system says that it is clean.

    A snapshot may hold the damage that another volume had: it would come to light in the night, and every night again.
    """
    return world.is_distrusted and find_source(run, volume_id, world) is not None


def zones_in_order(run: Run, world: NightWorld) -> tuple[str, ...]:
    """Where tonight's receiver may stand: first where its volume is, then as the deployment prefers."""
    held = held_volume(run, world)
    at_the_volume = [held.zone] if held and held.zone in world.zones else []
    return tuple(dict.fromkeys((*at_the_volume, *world.zones)))


def zone_of_tonight(run: Run, world: NightWorld) -> str | None:
    """The first zone that has room, and never back behind one that this run has made a volume in; None when none of
    the deployment's subnets is left.

    A run that was rebuilt has forgotten which zones are full.
    """
    zones = zones_in_order(run, world)
    if not zones:
        return None
    made = {volume.zone for volume in world.volumes if is_made_for(run, volume)}
    reached = max((index for index, zone in enumerate(zones) if zone in made), default=0)
    return next((zone for zone in zones[reached:] if zone not in run.full_zones), zones[-1])


def volume_of_tonight(run: Run, world: NightWorld) -> Volume | None:
    """The one that was pushed to, and no other; until then the one tonight's receiver will have: in its zone, should
    there be two always the same one.
    """
    if world.pushed_to is not None:
        return next((volume for volume in world.volumes if volume.id == world.pushed_to), None)
    zone = zone_of_tonight(run, world)
    there = (volume for volume in world.volumes if volume.zone == zone)
    return min(there, key=lambda volume: (not is_made_for(run, volume), volume.id), default=None)


def can_be_made(run: Run, world: NightWorld) -> bool:
    """Whether a new volume would hold all that it has to: nothing was received yet, and what was before is in a
    completed snapshot, or there is nothing from before."""
    return not has_received(world) and (world.newest is not None or held_volume(run, world) is None)


def next_zone(run: Run, world: NightWorld) -> str | None:
    """Where to go when `run.full_zones` have no room: None when no other zone is left, or no volume can be made there.

    A held volume may have what a failed night pushed and no snapshot holds: it stays where it is until every host is
    complete in a later snapshot (see `night.plan`).
    """
    zone = zone_of_tonight(run, world)
    return zone if zone is not None and zone not in run.full_zones and can_be_made(run, world) else None
