"""What a restored machine calls itself: never by accident what something in production is called."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.core.ids import HOST_NAME
from chalicelib.core.policy import Policy
from chalicelib.errors import ConfigError, Refused


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


def check_name(request: RecoveryRequest, policy: Policy | None) -> None:
    """Raises ConfigError for what is no name, and Refused for one in production that was not said to be meant."""
    name = request.name
    if name is None:
        return
    if not HOST_NAME.fullmatch(name):
        raise ConfigError((f'name {name!r}: expected a host name like "{restored_name("us0a")}"',))
    owner = _owner_of(name, policy)
    if owner is not None and not request.is_meant:
        raise Refused(
            f"{name} is the name of {owner}, and two machines of one name do each other's work: "
            "give the restored one another, or say that this is meant (is_meant, or --is-meant)"
        )


def _owner_of(name: str, policy: Policy | None) -> str | None:
    """Whoever in production is called so, be it by the first part of its name alone."""
    if policy is None:
        return None
    hosts = ((host, f"host {host}") for host in policy.hosts)
    receivers = ((receiver.address_name, f"receiver {receiver.name}") for receiver in policy.receivers.values())
    known = (*hosts, *receivers)
    return next((owner for called, owner in known if _first_part(called) == _first_part(name)), None)


def _first_part(name: str) -> str:
    return name.partition(".")[0]
