"""What a run's receivers have said: each word asked for by its own key, of machines that there were.

Every machine may write below the nonce of a run that is open, as it can read that one's brief: there may be words of as
many attempts as one that was taken over likes.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from chalicelib import wire
from chalicelib.core.model import Run, RunId
from chalicelib.errors import PermanentError, TooLargeError
from chalicelib.flows.own_keys import find_own_keys
from chalicelib.ports import World

# One that makes no sense was said all the same.
Said = Mapping[int, wire.Notice | None]

_WORDS = ("ready", "released", "damaged", "refused")


@dataclass(frozen=True)
class Words:
    """By the attempt: whose receiver stood ready, and let go of its volume; of those that did not stand ready, whose
    found its volume damaged, and whose let nobody in."""

    ready: Said
    released: Said
    damaged: Said
    refused: Said


def hear(run: Run, attempts: Iterable[int], world: World) -> Words:
    """Raises when a word cannot be had now."""
    asked = sorted(attempts)
    keys = [wire.word_key(run, what, attempt) for what in _WORDS for attempt in asked]
    there = find_own_keys(wire.words_prefix(run), keys, world.archive)

    def read(what: str, but: Container[int] = ()) -> Said:
        said = {each: wire.word_key(run, what, each) for each in asked if each not in but}
        return {each: _read(key, world) for each, key in said.items() if key in there}

    ready = read("ready")
    return Words(ready, read("released"), damaged=read("damaged", but=ready), refused=read("refused", but=ready))


def _read(key: str, world: World) -> wire.Notice | None:
    """None when it makes no sense. One that is too large makes none: a run that waited for it would wait for ever."""
    try:
        body = world.archive.get(key)
    except TooLargeError:
        return None
    try:
        return wire.parse_notice(body)
    except PermanentError:
        return None


def find_briefed(run_id: RunId, volume_ids: Iterable[str | None], world: World) -> frozenset[str]:
    """Those of them that have a brief of this run, which no machine can write, wherever a word says that they are."""
    return frozenset(_briefed(run_id, volume_ids, world))


def _briefed(run_id: RunId, volume_ids: Iterable[str | None], world: World) -> Iterator[str]:
    for volume_id in {each for each in volume_ids if each}:
        key = wire.brief_key(run_id, volume_id)
        if wire.briefed_volumes([key]) and world.archive.list(key, most=1) == [key]:
            yield volume_id


def volumes_of(said: Said) -> list[str]:
    """The volumes that these name, the first attempt's first; an older receiver names none."""
    return [word.volume_id for _, word in sorted(said.items()) if word and word.volume_id]
