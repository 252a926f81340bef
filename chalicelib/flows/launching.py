"""Launch one machine where there is room: the same request for one type and subnet after the other, under one token."""

from collections.abc import Sequence

from chalicelib.core.model import Machine
from chalicelib.core.policy import Policy
from chalicelib.errors import CapacityError, PermanentError, TokenTakenError
from chalicelib.ports import LaunchRequest, Machines, Settings


def subnets_of_restores(policy: Policy | None, settings: Settings) -> tuple[str, ...]:
    """Where restores and drills may stand, the preferred one first: the policy's, which is one of the region that makes
    the backups; without a word on it, and at a standby, the deployment's.
    """
    own = policy.restore.subnet if policy and not settings.is_standby else None
    return (own,) if own else settings.subnets


def launch_where_there_is_room(what: str, requests: Sequence[LaunchRequest], machines: Machines) -> Machine:
    """The requests differ in nothing but their instance type and their subnet; `what` says what the machine is for.

    Raises CapacityError only when nothing can have been launched by their token, and PermanentError only when none of
    them merely lacked room.
    """
    full: list[LaunchRequest] = []
    refused: dict[str, PermanentError] = {}
    taken = None
    for request in requests:
        try:
            return machines.launch(request)
        except CapacityError:
            full.append(request)
        except PermanentError as fault:
            refused.setdefault(request.subnet, fault)
        except TokenTakenError as other:
            taken = other  # a lost answer was that of another request: asking that one finds its machine
    if taken is not None:
        raise taken
    if refused and not full:
        raise next(iter(refused.values()))
    types = ", ".join(dict.fromkeys(request.instance_type for request in full))
    zones = ", ".join(dict.fromkeys(place_of(request.subnet, machines) for request in full))
    besides = f"; EC2 refuses it in {', '.join(refused)}, and `ebbtide preflight` says why" if refused else ""
    raise CapacityError(f"{what}: no capacity for any of {types} in {zones}{besides}")


def place_of(subnet: str, machines: Machines) -> str:
    """Its zone; its own name, when EC2 does not know it any more."""
    try:
        return machines.zone_of(subnet)
    except KeyError:
        return subnet
