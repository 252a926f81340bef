"""Every five minutes: open the runs that are due, and wake whoever has something to do in an invocation of its own:
every open run and recovery, hourly who begins the drills that are due, and hourly who tells of what is wrong, or at
once while something could not be told. A report of a host with a volume of its own is only found here: it opens its run
in that run's own invocation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib import wire
from chalicelib.core.model import RecoveryId, Run, RunId
from chalicelib.core.policy import Policy, ReceiverPolicy
from chalicelib.core.ticks import is_the_hours_first
from chalicelib.core.windows import due, nights_had
from chalicelib.errors import PermanentError
from chalicelib.flows.follow import follow
from chalicelib.flows.open_run import open_run
from chalicelib.flows.own_runs import Reported, find_own_runs
from chalicelib.flows.policies import find_policy
from chalicelib.flows.wanted_copies import find_places
from chalicelib.ports import World


@dataclass(frozen=True)
class Ticked:
    """What this tick opened, and what it woke."""

    opened: tuple[RunId, ...]
    runs: tuple[RunId, ...]
    recoveries: tuple[RecoveryId, ...]
    faults: tuple[str, ...] = ()


def tick(world: World, now: datetime, new_nonce: Callable[[], str]) -> Ticked:
    """A standby opens no runs: it follows what it stands by for, pulls copies if it is a vault, and tends its own
    recoveries."""
    if world.settings.is_standby:
        follow(world, now)
    policy = find_policy(world)
    opened: list[RunId] = []
    open_runs: list[RunId] = []
    faults = []
    for receiver in policy.receivers.values() if policy and not world.settings.is_standby else ():
        try:
            runs = world.catalog.find_runs(receiver.name)
            if policy and (run := _open_if_due(receiver, runs, policy, world, now, new_nonce)):
                opened.append(run.id)
                runs = [run, *runs]
        except PermanentError as fault:  # the other receivers have their nights all the same
            faults.append(f"receiver {receiver.name}: {fault}")
        else:
            open_runs += [run.id for run in runs if not run.state.is_final]
    recoveries = [recovery.id for recovery in world.catalog.find_recoveries() if not recovery.state.is_final]
    for run_id in open_runs:
        world.lambdas.invoke_later("reconcile_run", wire.run_payload(run_id))
    for recovery_id in recoveries:
        world.lambdas.invoke_later("recover", wire.recovery_payload(recovery_id))
    if policy and policy.drill.every_days and is_the_hours_first(now) and not world.settings.is_standby:
        world.lambdas.invoke_later("begin_drills", wire.drills_payload())
    if policy and find_places(policy, world):
        world.lambdas.invoke_later("copy", wire.copy_payload())
    # Telling reads every restore point: at 10,000 hosts too much for every tick. A lost hint may cost an hour.
    if is_the_hours_first(now) or any(told.told is None for told in world.catalog.find_told()):
        world.lambdas.invoke_later("tell_operators", wire.telling_payload())
    own = _wake_own_runs(policy, world, now)
    return Ticked(tuple(opened), (*open_runs, *own.runs), tuple(recoveries), (*faults, *own.faults))


def _wake_own_runs(policy: Policy | None, world: World, now: datetime) -> Reported:
    """Last of all: however much such hosts write into the archive, everyone else was woken before that is looked at."""
    if policy is None or world.settings.is_standby:
        return Reported()
    own = find_own_runs(policy, world, now)
    for run_id in own.runs:
        world.lambdas.invoke_later("reconcile_run", wire.run_payload(run_id))
    return own


def _open_if_due(
    receiver: ReceiverPolicy,
    runs: list[Run],
    policy: Policy,
    world: World,
    now: datetime,
    new_nonce: Callable[[], str],
) -> Run | None:
    """One run at a time: they share a volume. One that was begun by hand before its window does not stand for it."""
    if any(not run.state.is_final for run in runs):
        return None
    window = due(receiver, now, nights_had(receiver, runs))
    if window is None:
        return None
    return open_run(receiver, replace(window, opens=max(window.opens, now)), runs, policy, world, new_nonce)
