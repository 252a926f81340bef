"""From what an event is about to the run or recovery it should wake; what is not ours wakes nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import own_host, parse_recovery, parse_run
from chalicelib.core.model import RunId
from chalicelib.errors import PermanentError
from chalicelib.flows import reconcile as run_side
from chalicelib.flows import recover as recovery_side
from chalicelib.flows.follow import follow
from chalicelib.flows.receive_report import receive_report
from chalicelib.ports import World

Outcome = run_side.Outcome | recovery_side.Outcome


def on_report(source: str, detail: Mapping[str, Any], world: World, now: datetime) -> Outcome:
    """The detail only says whose report it is: what it says is read from the archive.

    A host's report to a receiver is recorded and wakes nothing, because nothing follows from it: whether all have
    reported the receiver knows itself, and the run goes on when it is gone. A host's own event speaks of the host that
    its source names, or of nothing: there its report is all that its run waits for, and no receiver has a word in it.
    Raises PermanentError.
    """
    sender = wire.host_of_source(source)
    if sender is not None:
        return run_side.reconcile(_own_run_of(sender, detail), world, now)
    if wire.is_about_a_recovery(detail):
        return recovery_side.recover(wire.parse_recovery_payload(detail), world, now)
    run_id, host_id = wire.parse_run_payload(detail), wire.find_reporter(detail)
    if own_host(run_id) is not None:
        raise PermanentError(f"an event of {source!r} speaks of run {run_id}, of which only its host may speak")
    if host_id is None:
        return run_side.reconcile(run_id, world, now)
    run = run_side.get_run(run_id, world)
    return run_side.Outcome(run, rejected=receive_report(run, host_id, world))


def _own_run_of(sender: str, detail: Mapping[str, Any]) -> RunId:
    run_id = wire.parse_run_payload(detail)
    if own_host(run_id) != sender:
        raise PermanentError(f"an event of host {sender} speaks of run {run_id}, which is not its own")
    return run_id


def on_instance(instance_id: str, world: World, now: datetime) -> Outcome | None:
    """None when the instance is not ours, or gone for so long that EC2 has forgotten it."""
    try:
        machine = world.machines.get(instance_id)
    except KeyError:
        return None
    return _wake_owner(machine.tags, world, now)


def on_snapshot(snapshot_id: str, world: World, now: datetime) -> Outcome | None:
    """None when the snapshot is not ours, and for a copy, which belongs to no open run."""
    try:
        snapshot = world.volumes.get_snapshot(snapshot_id)
    except KeyError:
        return None
    return _wake_owner(snapshot.tags, world, now)


def _wake_owner(tagged: Mapping[str, str], world: World, now: datetime) -> Outcome | None:
    match tagged.get(tags.ROLE):
        case tags.Role.RECEIVER | tags.Role.BACKUP:
            return run_side.reconcile(parse_run(tagged.get(tags.RUN, "")), world, now)
        case tags.Role.RECOVERY:
            return recovery_side.recover(parse_recovery(tagged.get(tags.RECOVERY, "")), world, now)
        case tags.Role.COPY if world.settings.is_standby:
            follow(world, now)
            return None
        case _:
            return None
