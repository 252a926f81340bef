"""What outlived the run or recovery it was made for, decided: what is there and now in, what to remove and why out.

Only machines, throw-away volumes and damaged ones whose time is up are ever chosen: this room does not know snapshots,
and passes data volumes by, as well as whatever is tagged as a host's own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.model import Machine, Volume

# A machine of a run that has just closed may still be powering itself off, and one just launched may have lost the
# race with whoever records it.
GRACE = timedelta(minutes=15)

# By then two sweeps have passed by what should have gone.
OVERDUE = timedelta(hours=2)

# Of one receiver: whatever damages its volumes night for night does not fill the account with them.
MOST_ASIDE = 2

# DeleteVolume takes no other: an attached volume goes once its machine is gone.
_FREE = ("available", "error")


@dataclass(frozen=True)
class Removal:
    """A machine or volume, by its id, and why it goes."""

    id: str
    why: str


@dataclass(frozen=True)
class SweepPlan:
    """What to end and what to delete; machines go first, because they hold volumes."""

    machines: tuple[Removal, ...]
    volumes: tuple[Removal, ...]


def plan_sweep(
    machines: Iterable[Machine], volumes: Iterable[Volume], owners: Mapping[str, datetime | None], now: datetime
) -> SweepPlan:
    """What is to be removed of these resources of ours.

    `owners` says of every run and recovery that the catalogue knows when it was closed; None while it is open. What
    the catalogue does not know may have been lost by it, so its resources stay until they expire.
    """
    free = [volume for volume in volumes if volume.state in _FREE]
    too_many = frozenset(each.id for each in _older_than_the_newest(MOST_ASIDE, filter(_is_aside, free)))
    return SweepPlan(
        machines=_removals((each.id, _why_end(each, owners, now)) for each in _staying(machines)),
        volumes=_removals((each.id, _why_delete(each, owners, too_many, now)) for each in free),
    )


def find_overdue(
    machines: Iterable[Machine], volumes: Iterable[Volume], owners: Mapping[str, datetime | None], now: datetime
) -> tuple[Removal, ...]:
    """What should have gone long ago and is there: nobody sweeps, or whoever does cannot remove it, such as a volume
    that is in use, which no plan has. `owners` are as above.
    """
    then = now - OVERDUE
    standing = [volume for volume in volumes if volume.state != "deleting"]
    return (
        *_removals((each.id, _why_end(each, owners, then)) for each in _staying(machines)),
        *_removals((each.id, _why_delete(each, owners, frozenset(), then)) for each in standing),
    )


def find_forgotten(
    machines: Iterable[Machine], volumes: Iterable[Volume], owners: Mapping[str, datetime | None], now: datetime
) -> tuple[Removal, ...]:
    """What is of a run or recovery that the catalogue has lost, and so is in no list of what stands, until it expires.
    `owners` are as above: whoever makes a machine or a volume is known to the catalogue before.
    """
    of_machines = [
        (each.id, _why_forgotten(each.tags, owners))
        for each in _staying(machines)
        if now >= each.launched + OVERDUE and _why_end(each, owners, now) is None
    ]
    of_volumes = [
        (each.id, _why_forgotten(each.tags, owners))
        for each in volumes
        if each.state != "deleting" and not _is_data(each) and _why_outlived(each.tags, owners, now) is None
    ]
    return _removals((*of_machines, *of_volumes))


def _why_forgotten(tagged: Mapping[str, str], owners: Mapping[str, datetime | None]) -> str | None:
    owner = owner_of(tagged)
    if owner is None or owner in owners or _is_a_hosts(tagged):
        return None
    return f"{owner} is not in the catalogue, so that nobody goes on with it: `ebbtide rebuild`"


def _staying(machines: Iterable[Machine]) -> Iterator[Machine]:
    return (machine for machine in machines if not (machine.is_gone or machine.is_leaving))


def owner_of(tagged: Mapping[str, str]) -> str | None:
    """The text of the run or recovery that a resource was made for; None for what belongs to neither."""
    return tagged.get(tags.RUN) or tagged.get(tags.RECOVERY)


def _removals(judged: Iterable[tuple[str, str | None]]) -> tuple[Removal, ...]:
    return tuple(Removal(resource_id, why) for resource_id, why in judged if why is not None)


def _why_end(machine: Machine, owners: Mapping[str, datetime | None], now: datetime) -> str | None:
    if _is_a_hosts(machine.tags):
        return None
    outlived = _why_outlived(machine.tags, owners, now)
    is_anyones = owner_of(machine.tags) in owners or tags.expiry_of(machine.tags) is not None
    if outlived or is_anyones or now < machine.launched + GRACE:
        return outlived
    return "it runs for no run and no recovery"


def _why_delete(
    volume: Volume, owners: Mapping[str, datetime | None], too_many: frozenset[str], now: datetime
) -> str | None:
    if _is_data(volume) or (owner_of(volume.tags) is None and not _is_aside(volume)):
        return None
    if _is_a_hosts(volume.tags):
        return None
    if outlived := _why_outlived(volume.tags, owners, now):
        return outlived
    return f"{MOST_ASIDE} were set aside since" if volume.id in too_many else None


def _is_data(volume: Volume) -> bool:
    return volume.tags.get(tags.ROLE) == tags.Role.DATA


def _is_aside(volume: Volume) -> bool:
    """And nobody's any more."""
    return volume.tags.get(tags.ROLE) == tags.Role.ASIDE and owner_of(volume.tags) is None


def _older_than_the_newest(most: int, aside: Iterable[Volume]) -> Iterator[Volume]:
    """Of each receiver, by when they were to go. One that does not say when stays: a person may have wanted that."""
    of_receiver: dict[str | None, list[tuple[datetime, Volume]]] = defaultdict(list)
    for volume in aside:
        if (expiry := tags.expiry_of(volume.tags)) is not None:
            of_receiver[volume.tags.get(tags.RECEIVER)].append((expiry, volume))
    for found in of_receiver.values():
        for _, volume in sorted(found, key=lambda each: (each[0], each[1].id))[:-most]:
            yield volume


def _is_a_hosts(tagged: Mapping[str, str]) -> bool:
    """Whether an operator tagged it as a host's own, whatever else it says: it is never ours to remove."""
    return tagged.get(tags.ROLE) == tags.Role.HOST or tags.HOST in tagged


def _why_outlived(tagged: Mapping[str, str], owners: Mapping[str, datetime | None], now: datetime) -> str | None:
    expiry, owner = tags.expiry_of(tagged), owner_of(tagged)
    if expiry is not None and now >= expiry:
        return f"it expired at {expiry.isoformat()}"
    closed = owners.get(owner) if owner else None
    if closed is not None and now >= closed + GRACE:
        return f"{owner} was closed at {closed.isoformat()}"
    return None
