"""Begin a night by hand, now, for as long as the receiver's window is."""

from collections.abc import Callable
from datetime import datetime

from chalicelib import wire
from chalicelib.core.model import Run, RunId
from chalicelib.core.windows import window_from
from chalicelib.errors import ConfigError, Refused
from chalicelib.flows.open_run import open_run
from chalicelib.flows.policies import find_policy
from chalicelib.ports import World


def run_now(receiver_name: str, world: World, now: datetime, new_nonce: Callable[[], str]) -> RunId:
    """Raises Refused at a standby and while a run is open, ConfigError for a receiver that the policy does not have."""
    if world.settings.is_standby:
        raise Refused("this stack is a standby and makes no backups: begin the run where they are made")
    policy = find_policy(world)
    if policy is None or receiver_name not in policy.receivers:
        known = ", ".join(policy.receivers) if policy else "none: no policy is applied yet"
        raise ConfigError((f"policy: receiver is {receiver_name!r}, expected one of: {known}",))
    receiver = policy.receivers[receiver_name]
    runs = world.catalog.find_runs(receiver_name)
    _refuse_beside_an_open(runs)
    run = open_run(receiver, window_from(receiver, now), runs, policy, world, new_nonce)
    if run is None:
        raise Refused(f"receiver {receiver_name}: someone else opened a run at the same moment; look at that one")
    world.lambdas.invoke_later("reconcile_run", wire.run_payload(run.id))
    return run.id


def _refuse_beside_an_open(runs: list[Run]) -> None:
    for run in runs:
        if not run.state.is_final:
            raise Refused(f"run {run.id} is open until {run.deadline.isoformat()}: wait until it is closed")
