"""What was found damaged, passed on to whoever has a copy of it: through the archive, which is replicated there.

A copy has tags of its own, and is as damaged as its source. It is tagged once: who takes that tag off again, to restore
from it all the same, has the last word, and not the archive.
"""

from collections.abc import Iterable

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.backups import is_damaged
from chalicelib.core.damage import word_for_copies
from chalicelib.core.model import Snapshot
from chalicelib.errors import PermanentError
from chalicelib.flows.stock import find_stock
from chalicelib.ports import World


def tell_of_damage(snapshots: Iterable[Snapshot], world: World) -> None:
    """Of each that has the tag, once, whoever put it there."""
    damaged = {each.id: each for each in snapshots if is_damaged(each)}
    told = wire.snapshots_named_by(world.archive.list(wire.DAMAGED)) if damaged else frozenset()
    for snapshot_id in sorted(damaged.keys() - told):
        world.archive.put_once(wire.damage_key(snapshot_id), wire.damage_record(damaged[snapshot_id]))


def find_unheeded(copies: Iterable[Snapshot], world: World) -> list[Snapshot]:
    """The copies that have not been tagged yet though their source was found damaged."""
    told = wire.snapshots_named_by(world.archive.list(wire.DAMAGED))
    damaged = [copy for copy in copies if copy.tags.get(tags.SOURCE) in told]
    heeded = wire.snapshots_named_by(world.archive.list(wire.HEEDED)) if damaged else frozenset()
    return [copy for copy in damaged if copy.id not in heeded]


def heed_damage(world: World) -> None:
    """At whoever stands by. What another account says of a snapshot is no more than a word: its copy is tagged, which
    lets nothing go, and is taken off again by hand."""
    for copy in find_unheeded(find_stock(world), world):
        world.volumes.tag(copy.id, {tags.DAMAGED: _word(copy.tags[tags.SOURCE], world)})
        world.archive.put_once(wire.heeded_key(copy.id), wire.heeded_record(copy.id))


def _word(source: str, world: World) -> str:
    try:
        return word_for_copies(wire.parse_damage(world.archive.get(wire.damage_key(source))))
    except PermanentError:
        return word_for_copies("")
