"""What a restored machine calls itself: never by accident what something in production is called."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, count

from chalicelib.core.ids import HOST_NAME
from chalicelib.core.model import Recovery
from chalicelib.core.policy import Policy
from chalicelib.errors import ConfigError, Refused

# What every machine calls itself.
_EVERYBODY = "localhost"


class Mode(StrEnum):
    """To have it back, or to prove that it could be."""

    RESTORE = "restore"
    DRILL = "drill"


@dataclass(frozen=True)
class RecoveryRequest:
    """A host to bring up, as it was at `at` or before, or in the `point` of a snapshot or run; else at its newest.

    `name` is what it shall call itself; `is_meant` that this may be a name in production. `lasts` is how long
    it shall stand from now on. `networks` may come in at `ports`, and at that of ssh.
    """

    host: str
    at: datetime | None = None
    point: str | None = None
    mode: Mode = Mode.RESTORE
    name: str | None = None
    is_meant: bool = False
    lasts: timedelta | None = None
    ports: tuple[int, ...] = ()
    networks: tuple[str, ...] = ()


def restored_name(host_id: str) -> str:
    """What a restored image calls itself unless the operator says otherwise."""
    return f"restored-{host_id}"


def own_name(host_id: str, taken: Container[str]) -> str:
    """The first of restored-us0a, restored-us0a-2 and so on that is not taken."""
    first = restored_name(host_id)
    numbered = (f"{first}-{number}" for number in count(2))
    return next(name for name in chain((first,), numbered) if name not in taken)


def is_own_name(name: str, host_id: str) -> bool:
    """Whether a restored image of this host may have been called so by nobody in particular."""
    return re.fullmatch(f"{re.escape(restored_name(host_id))}(-[0-9]+)?", name) is not None


def check_name(request: RecoveryRequest, policy: Policy | None) -> None:
    """Raises ConfigError for what is no name, and Refused for one in production that was not said to be meant."""
    name = request.name
    if name is None:
        return
    if not HOST_NAME.fullmatch(name) or first_part(name) == _EVERYBODY:
        raise ConfigError((f'name {name!r}: expected a host name like "{restored_name("us0a")}"',))
    owner = _owner_of(name, policy)
    if owner is not None and not request.is_meant:
        raise Refused(
            f"{name} is the name of {owner}, and two machines of one name do each other's work: "
            "give the restored one another, or say that this is meant (is_meant, or --is-meant)"
        )


def check_is_free(request: RecoveryRequest, others: Iterable[Recovery]) -> None:
    """Raises Refused for a name that one of these is called by, and that was not said to be meant."""
    if request.name is None or request.is_meant:
        return
    called = find_called(request.name, others)
    if called is not None:
        raise Refused(
            f"{request.name} is the name of {called.id}, which stands restored: give this one another, close that one "
            "first, or say that this is meant (is_meant, or --is-meant)"
        )


def find_called(name: str, among: Iterable[Recovery]) -> Recovery | None:
    """One that is called so, be it by the first part of its name alone."""
    return next((each for each in among if first_part(each.name) == first_part(name)), None)


def _owner_of(name: str, policy: Policy | None) -> str | None:
    """Whoever in production is called so, be it by the first part of its name alone."""
    if policy is None:
        return None
    hosts = ((host, f"host {host}") for host in policy.hosts)
    receivers = ((receiver.address_name, f"receiver {receiver.name}") for receiver in policy.receivers.values())
    known = (*hosts, *receivers)
    return next((owner for called, owner in known if first_part(called) == first_part(name)), None)


def first_part(name: str) -> str:
    """By which two machines are taken for each other, whatever domain they are in."""
    return name.partition(".")[0]
