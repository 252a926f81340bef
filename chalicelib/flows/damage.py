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


def find_unheeded(copies: Iterable[Snapshot], world: World) -> dict[str, list[Snapshot]]:
    """The copies that are not tagged yet though their source was found damaged, by the id of that source."""
    told = wire.snapshots_named_by(world.archive.list(wire.DAMAGED))
    unheeded = told - wire.snapshots_named_by(world.archive.list(wire.HEEDED)) if told else told
    found: dict[str, list[Snapshot]] = {}
    for copy in copies:
        if (source := copy.tags.get(tags.SOURCE, "")) in unheeded:
            found.setdefault(source, []).append(copy)
    return found


def heed_damage(world: World) -> None:
    """At whoever stands by. What another account says of a snapshot is no more than a word: its copy is tagged, which
    lets nothing go, and is taken off again by hand."""
    for source, copies in find_unheeded(find_stock(world), world).items():
        for copy in copies:
            world.volumes.tag(copy.id, {tags.DAMAGED: _word(source, world)})
        world.archive.put_once(wire.heeded_key(source), wire.heeded_record(source))


def _word(source: str, world: World) -> str:
    try:
        return word_for_copies(wire.parse_damage(world.archive.get(wire.damage_key(source))))
    except PermanentError:
        return word_for_copies("")
