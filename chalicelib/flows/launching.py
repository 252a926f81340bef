"""Launch one machine where there is room: the same request for one instance type after the other, under one token."""

from collections.abc import Sequence

from chalicelib.core.model import Machine
from chalicelib.errors import CapacityError, TokenTakenError
from chalicelib.ports import LaunchRequest, Machines


def launch_where_there_is_room(what: str, requests: Sequence[LaunchRequest], machines: Machines) -> Machine:
    """The requests differ in nothing but their instance type; `what` says what the machine is for.

    Raises CapacityError only when nothing can have been launched by their token.
    """
    taken = None
    for request in requests:
        try:
            return machines.launch(request)
        except CapacityError:
            continue
        except TokenTakenError as other:
            taken = other  # a lost answer was that of another type: asking for that one finds its machine
    if taken is not None:
        raise taken
    tried = ", ".join(request.instance_type for request in requests)
    raise CapacityError(f"{what}: no capacity for any of {tried} in {machines.zone_of(requests[0].subnet)}")
