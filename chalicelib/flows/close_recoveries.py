"""End an opening, or a restore, before its time: what it was made of is taken down as it would have been anyway."""

from dataclasses import replace
from datetime import datetime

from chalicelib import wire
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind
from chalicelib.errors import Refused, TransientError
from chalicelib.flows.policies import find_versions
from chalicelib.ports import World


def close_recoveries(of: str, world: World, now: datetime) -> tuple[RecoveryId, ...]:
    """Those of a host, by its name or id, or the one of this id, which alone may be a restored server. One whose time
    is over already is only woken.

    Raises Refused when none stands or that is not known, and TransientError when someone has just written one of them:
    ask again.
    """
    standing = find_closable(world)
    recoveries = [each for each in standing if _is_meant(each, of)]
    if not recoveries:
        raise Refused(f"nothing of {of!r} is open: {_what_to_give(of, standing)}")
    for recovery in recoveries:
        ended = replace(recovery, deadline=now, ended_early=True)
        if now < recovery.deadline and world.catalog.save_recovery(ended) is None:
            raise TransientError(f"recovery {recovery.id} has changed just now: ask again")
        world.lambdas.invoke_later("recover", wire.recovery_payload(recovery.id))
    return tuple(recovery.id for recovery in recoveries)


def find_closable(world: World) -> list[Recovery]:
    """What stands open or restored, or is to. A drill ends by itself.

    Raises Refused where only the archive has a policy: the table that would know what stands is lost.
    """
    if world.catalog.policy_version() is None and find_versions(world.archive):
        raise Refused("the catalogue has no policy, so it is not known what stands: `ebbtide rebuild` finds that again")
    recoveries = world.catalog.find_recoveries()
    return [each for each in recoveries if each.kind is not RecoveryKind.DRILL and not each.state.is_final]


def _is_meant(recovery: Recovery, of: str) -> bool:
    names = {
        RecoveryKind.OPENING: (recovery.host, recovery.id.host_id, str(recovery.id)),
        RecoveryKind.RESTORE: (str(recovery.id),),
    }
    return of in names[recovery.kind]


def _what_to_give(of: str, standing: list[Recovery]) -> str:
    restored = [each for each in standing if each.kind is RecoveryKind.RESTORE]
    ids = [str(each.id) for each in restored if of in (each.host, each.id.host_id)]
    if ids:
        return f"a restored server is closed by its own id alone: {', '.join(ids)}"
    return "give a host's name or id, or that of an opening or a restore; `ebbtide close` alone says what stands"
