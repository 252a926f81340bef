"""On what a server is brought up that comes back: a machine that runs what its own did, and the image for that."""

from dataclasses import dataclass

from chalicelib.core.policy import Policy
from chalicelib.core.policy_values import ARM, X86, architecture_of
from chalicelib.errors import PermanentError

# What runs what, by what `uname -m` says on the server; either runs what its 32-bit forebears do.
_RUN_BY = {
    **dict.fromkeys(("aarch64", "armv8l", "armv7l", "armv6l"), ARM),
    **dict.fromkeys(("x86_64", "i686", "i586", "i486", "i386"), X86),
}
# Where the policy names none, and its receiver stands on another architecture.
TYPES = {ARM: "t4g.medium", X86: "t3a.medium"}


@dataclass(frozen=True)
class Footing:
    """Instance types to try in order, and whether they boot another image than receivers do."""

    instances: tuple[str, ...]
    is_other: bool


def footing(machine: str | None, policy: Policy | None, receiver: str) -> Footing:
    """For a server whose last report says that it is such a `machine`, as `uname -m` has it, and that this receiver
    backed up; for one that nothing is known of, as receivers have it.

    Raises PermanentError for a machine that nothing at EC2 runs.
    """
    usual = _of_receivers(policy)
    architecture = _architecture_for(machine) if machine is not None else usual
    return Footing(_instances(architecture, policy, receiver), architecture != usual)


def named_footings(policy: Policy) -> tuple[Footing, ...]:
    """What a policy has servers brought up on: like its receivers, and on whatever else it names a type of."""
    usual = _of_receivers(policy)
    others = [each for each in policy.restore.instances if each != usual]
    receiver = next(iter(policy.receivers), "")
    return tuple(Footing(_instances(each, policy, receiver), each != usual) for each in (usual, *others))


def _of_receivers(policy: Policy | None) -> str:
    """The deployment has one image for all of them; where there is none, it is ARM's."""
    types = (each.instances[0] for each in policy.receivers.values()) if policy else iter(())
    return next(map(architecture_of, types), ARM)


def _architecture_for(machine: str) -> str:
    if machine not in _RUN_BY:
        raise PermanentError(
            f"its night's report says that it is a machine of {machine[:40]!r}, and EC2 has none that runs its image: "
            "get its files back, and install it anew"
        )
    return _RUN_BY[machine]


def _instances(architecture: str, policy: Policy | None, receiver: str) -> tuple[str, ...]:
    if policy and architecture in policy.restore.instances:
        return (policy.restore.instances[architecture],)
    own = policy.receivers.get(receiver) if policy else None
    if own and architecture_of(own.instances[0]) == architecture:
        return own.instances
    return (TYPES[architecture],)
