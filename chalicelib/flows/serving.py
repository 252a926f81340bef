"""What the machine of an opening serves, and to whom: as the policy has it of the host and of its receiver."""

from chalicelib import wire
from chalicelib.core.model import Recovery, TreeKind
from chalicelib.core.policy import HostPolicy, Policy, ReceiverPolicy
from chalicelib.errors import Refused
from chalicelib.flows.observe import as_ec2_says
from chalicelib.flows.policies import find_policy, get_policy
from chalicelib.ports import World

_WHOLE = "bring it up whole with the function `restore`"


def check_servable(wanted: Recovery, world: World) -> None:
    """Raises Refused for a host without a key or a receiver here, for a tree that no receiver keeps, and without the
    key by which hosts know their receiver."""
    _, receiver = _parties(wanted, find_policy(world))
    if wanted.point.tree is not TreeKind.FAKE_SUPER:
        raise Refused(f"this restore point of host {wanted.host} was made on a volume of its own: {_WHOLE}")
    parameter = wire.host_key_parameter(receiver.name)
    if not world.account.has_parameter(parameter):
        raise Refused(
            f"host {wanted.host} would not know the machine: {parameter}, the host key of its receiver, is not here. "
            f"Put it there as docs/deployment.md says, or {_WHOLE}"
        )


def serving(recovery: Recovery, world: World) -> wire.Serving:
    """As the receiver that the host pushes to under that policy does by night; and to the policy's readers as well."""
    policy = get_policy(str(recovery.policy_version), world)
    host, receiver = _parties(recovery, policy)
    keys = (*host.keys, *policy.restore.readers)
    return wire.Serving(keys, wire.host_key_parameter(receiver.name), receiver.volume.filesystem)


def shut_out(recovery: Recovery, world: World) -> tuple[str, ...]:
    """The networks that the policy in force lets this host come from, and that the receivers' port is not open to.

    Never more than any night wants as well: two that set the same thing must want the same.
    """
    policy = find_policy(world)
    receiver = policy.receiver_of(recovery.host) if policy else None
    wanted = {as_ec2_says(network) for network in receiver.allow} if receiver else set()
    return tuple(sorted(wanted - {*world.address.open_to()})) if wanted else ()


def _parties(recovery: Recovery, policy: Policy | None) -> tuple[HostPolicy, ReceiverPolicy]:
    """Who logs in, and as which receiver its machine answers."""
    host = policy.hosts.get(recovery.host) if policy else None
    receiver = policy.receiver_of(recovery.host) if policy else None
    if host is None:
        raise Refused(f"host {recovery.host} is not in the policy, so none of its keys is known: {_WHOLE}")
    if receiver is None:
        raise Refused(f"host {recovery.host} pushes to no receiver, so it knows none: {_WHOLE}")
    return host, receiver
