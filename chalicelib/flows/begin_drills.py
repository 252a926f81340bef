"""Once an hour: begin the drills that are due, as many as there is room for. In an invocation of its own, for it reads
every restore point there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.drilling import find_due, in_turn, room
from chalicelib.core.model import RecoveryId
from chalicelib.core.policy import HostPolicy
from chalicelib.errors import PermanentError, Refused
from chalicelib.flows.open_recovery import open_drill
from chalicelib.flows.policies import find_policy
from chalicelib.ports import World

# For a host that has nothing sound EC2 is asked of each of its points, and for the whole stock. Where so many have none
# it is not a drill that has to say so.
MOST_FAULTS = 10


@dataclass(frozen=True)
class Begun:
    """The drills, and why those of others that were due are not among them."""

    drills: tuple[RecoveryId, ...] = ()
    faults: tuple[str, ...] = ()


def begin_drills(world: World, now: datetime) -> Begun:
    """A host without a restore point has nothing to prove yet. Nor has one whose points are all lost or damaged, which
    is for other alarms to tell: its turn is the next one's, and however many there are, everybody has a turn some hour.
    """
    policy = find_policy(world)
    if policy is None:
        return Begun()
    recoveries = world.catalog.find_recoveries()
    due, most = find_due(policy, recoveries, now), room(policy, recoveries)
    if not (due and most):
        return Begun()
    with_points = {point.host_id for point in world.catalog.find_points()}
    provable = [host for host in due if host.id in with_points]
    return _begin(in_turn(provable, MOST_FAULTS // 2, now), most, world, now)


def _begin(hosts: Iterable[HostPolicy], most: int, world: World, now: datetime) -> Begun:
    begun: list[RecoveryId] = []
    faults: list[str] = []
    for host in hosts:
        if len(begun) == most or len(faults) == MOST_FAULTS:
            break
        try:
            begun.append(open_drill(host.id, world, now))
        except (Refused, PermanentError) as fault:
            faults.append(str(fault))
    return Begun(tuple(begun), tuple(faults))
