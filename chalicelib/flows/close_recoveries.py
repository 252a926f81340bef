"""End an opening, or a restore, before its time: what it was made of is taken down as it would have been anyway."""

from dataclasses import replace
from datetime import datetime

from chalicelib import wire
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind
from chalicelib.errors import Refused, TransientError
from chalicelib.ports import World


def close_recoveries(of: str, world: World, now: datetime) -> tuple[RecoveryId, ...]:
    """Those of a host, by its name or id, or the one of this id, which alone may be a restored server. One whose time
    is over already is only woken.

    Raises Refused when none stands, and TransientError when someone has just written one of them: ask again.
    """
    recoveries = [each for each in world.catalog.find_recoveries() if _is_meant(each, of)]
    if not recoveries:
        raise Refused(
            f"nothing of {of!r} is open: give a host's name or id, or the id that `ebbtide open` or `restore` has told"
        )
    for recovery in recoveries:
        if now < recovery.deadline and world.catalog.save_recovery(replace(recovery, deadline=now)) is None:
            raise TransientError(f"recovery {recovery.id} has changed just now: ask again")
        world.lambdas.invoke_later("recover", wire.recovery_payload(recovery.id))
    return tuple(recovery.id for recovery in recoveries)


def _is_meant(recovery: Recovery, of: str) -> bool:
    names = {
        RecoveryKind.OPENING: (recovery.host, recovery.id.host_id, str(recovery.id)),
        RecoveryKind.RESTORE: (str(recovery.id),),
        RecoveryKind.DRILL: (),
    }
    return not recovery.state.is_final and of in names[recovery.kind]
