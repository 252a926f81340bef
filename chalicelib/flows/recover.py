"""Go on with a recovery that was opened: observe, plan, act, record, until there is only waiting left."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import TypeVar

from chalicelib import wire
from chalicelib.core import entrances, restored, tags
from chalicelib.core.model import (
    Machine,
    Recovery,
    RecoveryId,
    RecoveryKind,
    RecoveryReport,
    RestoredServer,
    Step,
    Volume,
    Way,
)
from chalicelib.core.night_world import attempt_of
from chalicelib.core.recovery import plan
from chalicelib.core.recovery_actions import (
    Action,
    DeleteVolume,
    KeepUntil,
    RecordVerdict,
    RecoveryWorld,
    SetWays,
    TerminateMachine,
)
from chalicelib.core.steps import COMPARE, ahead_of, has_moved
from chalicelib.core.verdicts import FAILED, is_down, is_unheard
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.own_keys import find_own_keys
from chalicelib.flows.recovery_steps import act
from chalicelib.flows.serving import shut_out
from chalicelib.flows.settle import settle
from chalicelib.flows.stock import find_snapshot, point_before
from chalicelib.ports import World

_TAKES_AWAY = (TerminateMachine, DeleteVolume)
Said = TypeVar("Said", RecoveryReport, RestoredServer)
Made = TypeVar("Made", Machine, Volume)


@dataclass(frozen=True)
class Outcome:
    """What one call did, and what it waits for now; `overtaken` when someone else won a write. `untold` is why whoever
    follows it was not told what is new. `runs` says whether a restored server does, None of what is none or is over."""

    recovery: Recovery
    steps: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    overtaken: bool = False
    untold: tuple[str, ...] = ()
    runs: bool | None = None


def recover(recovery_id: RecoveryId, world: World, now: datetime) -> Outcome:
    """Raises PermanentError when there is no such recovery, TransientError when AWS should be asked again later."""
    try:
        recovery = world.catalog.get_recovery(recovery_id)
    except KeyError:
        raise PermanentError(f"there is no recovery {recovery_id}: `rebuild` finds what the table has lost") from None
    untold: list[str] = []
    seen: list[RecoveryWorld] = []
    settled = settle(
        f"recovery {recovery_id}",
        recovery,
        lambda recovery: _next_steps(recovery, world, now, seen),
        lambda step, recovery: _act_and_tell(step, recovery, world, now, untold),
    )
    stands = recovery.kind is RecoveryKind.RESTORE and not settled.subject.state.is_final
    runs = restored.runs(seen[-1]) if stands else None
    return Outcome(settled.subject, settled.steps, settled.waiting, settled.overtaken, tuple(untold), runs)


def _next_steps(recovery: Recovery, world: World, now: datetime, seen: list[RecoveryWorld]) -> tuple[Action, ...]:
    if recovery.state.is_final:
        return ()
    seen.append(observe(recovery, world, now))
    return plan(recovery, seen[-1], now)


def _act_and_tell(
    action: Action, recovery: Recovery, world: World, now: datetime, untold: list[str]
) -> Recovery | None:
    """Who has won the write tells what is new of it, in an invocation of its own: it waits for nobody who listens. Nor
    does it wait where that is refused, for an event is a hint."""
    after = _act_or_give_up(action, recovery, world, now)
    if after is not None and has_moved(recovery, after):
        try:
            world.lambdas.invoke_later("tell_progress", wire.recovery_progress(after))
        except (PermanentError, TransientError) as fault:
            untold.append(str(fault))
    return after


def _act_or_give_up(action: Action, recovery: Recovery, world: World, now: datetime) -> Recovery | None:
    """What will not work the next time either is the verdict: it is taken down and told, instead of waited for.

    But for the ways: they are everybody's, and may have to be set for another one. Nor is a server that may be back
    taken down for it, nor one that may come back for what could not be taken away, or for a tag.
    """
    try:
        return act(action, recovery, world, now)
    except PermanentError as fault:
        if isinstance(action, SetWays | KeepUntil):
            raise TransientError(str(fault)) from fault
        may_be_back = recovery.address is not None or is_unheard(recovery.findings) or is_down(recovery.findings)
        if recovery.verdict is not None or may_be_back or isinstance(action, _TAKES_AWAY):
            raise
        return act(RecordVerdict(FAILED, (str(fault),)), recovery, world, now)


def observe(recovery: Recovery, world: World, now: datetime) -> RecoveryWorld:
    """Machines first: what they wrote before they went is then never missed."""
    ours = {tags.ROLE: tags.Role.RECOVERY, tags.RECOVERY: str(recovery.id)}
    machines, spent_machines = _by_attempt(world.machines.find(ours), recovery)
    volumes, spent_volumes = _by_attempt(sorted(world.volumes.find_volumes(ours), key=attrgetter("id")), recovery)
    own = wire.own_recovery_keys(recovery)
    keys = find_own_keys(wire.recovery_words_prefix(recovery), own, world.archive)
    is_opening, is_restore = recovery.kind is RecoveryKind.OPENING, recovery.kind is RecoveryKind.RESTORE
    report, no_report = _read(_report_key(recovery), "report", wire.parse_recovery_report, recovery, keys, world)
    standing = wire.recovery_standing_key(recovery)
    # One that cannot be read is still one: nothing that may be somebody's by now is taken down. A report follows.
    server, unheard = _read(standing, "word", wire.parse_restored_server, recovery, keys if is_restore else [], world)
    ways = entrances.wanted(world.catalog.find_recoveries(), now) if is_restore else frozenset()
    return RecoveryWorld(
        machines=machines,
        volume=volumes[0] if volumes else None,
        snapshot=find_snapshot(recovery.point.snapshot_id, world),
        briefed=wire.recovery_brief_key(recovery) in keys,
        report=report,
        unreadable=no_report,
        server=server,
        unheard=unheard,
        is_off=wire.recovery_off_key(recovery) in keys,
        is_opened=wire.recovery_opened_key(recovery.id) in keys,
        shut_out=shut_out(recovery, world) if is_opening and machines else (),
        ways=ways,
        ways_are_set=not is_restore or _are_set(ways, world),
        has_begun=wire.recovery_begun_key(recovery) in keys,
        said=_said(recovery, server, keys, world),
        spent_machines=spent_machines,
        spent_volumes=spent_volumes,
        before=point_before(recovery.point, world) if is_restore and report and report.verdict == FAILED else None,
    )


def _by_attempt(found: Iterable[Made], recovery: Recovery) -> tuple[tuple[Made, ...], tuple[Made, ...]]:
    """Those of its latest attempt, and those of attempts before that; what does not say is of the first."""
    latest: list[Made] = []
    spent: list[Made] = []
    for each in found:
        (spent if max(1, attempt_of(each)) < recovery.attempt else latest).append(each)
    return tuple(latest), tuple(spent)


def _are_set(ways: frozenset[Way], world: World) -> bool:
    """Not so when nobody can say: setting them tells why."""
    try:
        return world.entrances.ways() == ways
    except PermanentError:
        return False


def _read(
    key: str, what: str, parse: Callable[[bytes], Said], recovery: Recovery, keys: Collection[str], world: World
) -> tuple[Said | None, str | None]:
    """What its machine has said, or why what is there is none of that; neither while there is nothing."""
    if key not in keys:
        return None, None
    try:
        said = parse(world.archive.get(key))
    except PermanentError as fault:
        return None, f"its {what} cannot be read: {fault}"
    if (said.recovery, said.host_id) != (recovery.id, recovery.id.host_id):
        return None, f"its {what} is that of recovery {said.recovery}, host {said.host_id}"
    return said, None


def _said(recovery: Recovery, server: RestoredServer | None, keys: Collection[str], world: World) -> tuple[Step, ...]:
    """The steps that its latest machine has said it begins, but for those it has gone beyond. A word that cannot be
    read is none; what stands is being compared since it said that."""
    words = [wire.recovery_step_key(recovery, name) for name in ahead_of(recovery)]
    said = [_find_step(key, world) for key in words if key in keys]
    compared = [Step(COMPARE, server.since)] if server is not None else []
    return (*filter(None, said), *compared)


def _find_step(key: str, world: World) -> Step | None:
    try:
        return wire.parse_step(world.archive.get(key))
    except PermanentError:
        return None


def _report_key(recovery: Recovery) -> str:
    """An opening's machine has another role than one that proves, and may not write where that one does."""
    if recovery.kind is RecoveryKind.OPENING:
        return wire.recovery_unopened_key(recovery.id)
    return wire.recovery_report_key(recovery)
