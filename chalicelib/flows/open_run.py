"""Open a run: freeze its hosts, its nonces and the policy's version. Whoever wins the write has opened it."""

from collections.abc import Callable, Sequence

from chalicelib.core.model import ExpectedHost, Run, RunId
from chalicelib.core.policy import Policy, ReceiverPolicy
from chalicelib.core.windows import Window
from chalicelib.ports import World


def open_run(
    receiver: ReceiverPolicy,
    window: Window,
    runs: Sequence[Run],
    policy: Policy,
    world: World,
    new_nonce: Callable[[], str],
) -> Run | None:
    """The next attempt on the window's day after `runs`, the receiver's latest; None when someone was faster."""
    attempt = 1 + max((run.id.attempt for run in runs if run.id.day == window.day), default=0)
    hosts = (policy.hosts[name] for name in receiver.hosts)
    run = Run(
        id=RunId(receiver.name, window.day, attempt),
        policy_version=policy.version,
        opened=window.opens,
        deadline=window.deadline,
        hosts=tuple(ExpectedHost(host.name, host.id, new_nonce()) for host in hosts if not host.has_own_volume),
        nonce=new_nonce(),
    )
    return run if world.catalog.open_run(run) else None
