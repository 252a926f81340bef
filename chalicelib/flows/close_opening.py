"""End an opening before its time: what it was made of is then taken down as it would have been anyway."""

from dataclasses import replace
from datetime import datetime

from chalicelib import wire
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind
from chalicelib.errors import Refused, TransientError
from chalicelib.ports import World


def close_openings(of: str, world: World, now: datetime) -> tuple[RecoveryId, ...]:
    """Those of a host, by its name or id, or the one of this id. One whose time is over already is only woken.

    Raises Refused when none stands, and TransientError when someone has just written one of them: ask again.
    """
    openings = [each for each in world.catalog.find_recoveries() if _is_opening_of(each, of)]
    if not openings:
        raise Refused(f"nothing of {of!r} is open: give a host's name or id, or the id that `ebbtide open` has told")
    for opening in openings:
        if now < opening.deadline and world.catalog.save_recovery(replace(opening, deadline=now)) is None:
            raise TransientError(f"opening {opening.id} has changed just now: ask again")
        world.lambdas.invoke_later("recover", wire.recovery_payload(opening.id))
    return tuple(opening.id for opening in openings)


def _is_opening_of(recovery: Recovery, of: str) -> bool:
    is_open = recovery.kind is RecoveryKind.OPENING and not recovery.state.is_final
    return is_open and of in (recovery.host, recovery.id.host_id, str(recovery.id))
