"""Launch one machine where there is room: the same request for one type and subnet after the other, under one token."""

from collections.abc import Sequence

from chalicelib.core.model import Machine
from chalicelib.core.policy import Policy
from chalicelib.errors import CapacityError, TokenTakenError
from chalicelib.ports import LaunchRequest, Machines, Settings


def subnets_of_restores(policy: Policy | None, settings: Settings) -> tuple[str, ...]:
    """Where restores and drills may stand, the preferred one first: the policy's, which is one of the region that makes
    the backups; without a word on it, and at a standby, the deployment's.
    """
    own = policy.restore.subnet if policy and not settings.is_standby else None
    return (own,) if own else settings.subnets


def launch_where_there_is_room(what: str, requests: Sequence[LaunchRequest], machines: Machines) -> Machine:
    """The requests differ in nothing but their instance type and their subnet; `what` says what the machine is for.

    Raises CapacityError only when nothing can have been launched by their token.
    """
    taken = None
    for request in requests:
        try:
            return machines.launch(request)
        except CapacityError:
            continue
        except TokenTakenError as other:
            taken = other  # a lost answer was that of another request: asking that one finds its machine
    if taken is not None:
        raise taken
    types = ", ".join(dict.fromkeys(request.instance_type for request in requests))
    zones = ", ".join(dict.fromkeys(machines.zone_of(request.subnet) for request in requests))
    raise CapacityError(f"{what}: no capacity for any of {types} in {zones}")
