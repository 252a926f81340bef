"""Copies in another region, decided: which snapshots still need one, and which to ask for now.

What is true is what the copies' own tags say there. The intents only keep a request from being made twice while EC2
does not show its effect yet, and remember why one failed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.backups import points_in, without_extras
from chalicelib.core.model import CopyIntent, RestorePoint, RunId, Snapshot
from chalicelib.core.retention import Rules, retain
from chalicelib.errors import PermanentError

# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html: 20 at once per destination region, by default
MOST_AT_ONCE = 20
# EC2 may not show a new copy for minutes; only then is it safe to ask for it again.
COPY_SETTLES = timedelta(minutes=5)
# A copy that has failed is not asked for again by the very next tick.
RETRY_AFTER = timedelta(hours=1)

_OF_THE_RUN = (tags.SCHEMA, tags.RECEIVER, tags.RUN, tags.TREE, tags.CONSISTENCY)


@dataclass(frozen=True)
class Ask:
    """A snapshot to ask a copy of, and which attempt that is."""

    source: Snapshot
    attempt: int


@dataclass(frozen=True)
class CopyFailure:
    """A snapshot whose copy has failed so far, how many attempts came to nothing, and why the last one did."""

    snapshot_id: str
    failures: int
    why: str


@dataclass(frozen=True)
class CopyPlan:
    """All that lacks its copy, the newest first: what to ask for now, what waits and why, what has failed so far.

    `served` are the intents that nothing waits for any more.
    """

    wanted: tuple[Snapshot, ...] = ()
    ask: tuple[Ask, ...] = ()
    waiting: tuple[str, ...] = ()
    failed: tuple[CopyFailure, ...] = ()
    served: tuple[CopyIntent, ...] = ()


@dataclass(frozen=True)
class _Wanted:
    """A snapshot without a complete copy, and everything known of the attempts to make one."""

    source: Snapshot
    intent: CopyIntent | None
    tries: tuple[Snapshot, ...]

    @property
    def receiver(self) -> str:
        return self.source.tags.get(tags.RECEIVER, "")

    @property
    def pending(self) -> Snapshot | None:
        return next((each for each in self.tries if each.state == "pending"), None)

    @property
    def attempts(self) -> int:
        return max(self.intent.attempt if self.intent else 0, len(self.tries))

    @property
    def asked(self) -> datetime | None:
        return self.intent.asked if self.intent else max((each.started for each in self.tries), default=None)

    @property
    def failure(self) -> str | None:
        if self.intent and self.intent.why:
            return self.intent.why
        broken = next((each for each in self.tries if each.state == "error"), None)
        return f"copy {broken.id} ended in an error" if broken else None

    def is_on_its_way(self, now: datetime) -> bool:
        """Being made, or asked for so lately that EC2 need not show it yet."""
        is_fresh = self.intent is not None and self.intent.why is None and now < self.intent.asked + COPY_SETTLES
        return self.pending is not None or is_fresh


def plan_copies(
    sources: Iterable[Snapshot],
    copies: Sequence[Snapshot],
    intents: Iterable[CopyIntent],
    rules: Rules,
    now: datetime,
    forgotten: AbstractSet[str] = frozenset(),
) -> CopyPlan:
    """The next copies to ask for, the newest snapshots first, at most one of a receiver at a time.

    Each copy then builds on the last of its receiver: EC2 copies only what has changed since a copy that is complete.
    """
    known = list(intents)
    wanted = [_wanted(source, copies, known) for source in uncopied(sources, copies, rules, forgotten)]
    on_their_way = [each for each in wanted if each.is_on_its_way(now)]
    pending = sum(copy.state == "pending" for copy in copies)
    room = MOST_AT_ONCE - pending - sum(each.pending is None for each in on_their_way)
    busy = {each.receiver for each in on_their_way}
    ask, waiting = [], []
    for each in wanted:
        why = _why_wait(each, busy, room, now)
        if why:
            waiting.append(f"snapshot {each.source.id}: {why}")
        else:
            ask.append(Ask(each.source, each.attempts + 1))
            busy.add(each.receiver)
            room -= 1
    return CopyPlan(
        wanted=tuple(each.source for each in wanted),
        ask=tuple(ask),
        waiting=tuple(waiting),
        failed=_failures(wanted, now),
        served=_served(known, wanted),
    )


def uncopied(
    sources: Iterable[Snapshot], copies: Iterable[Snapshot], rules: Rules, forgotten: AbstractSet[str] = frozenset()
) -> tuple[Snapshot, ...]:
    """The completed snapshots with a point that the copies' rules want and no complete copy holds, the newest first.

    The rules are applied to both together, so that what they have let go of over there is not copied once more. Neither
    is what only hosts that are `forgotten`, by their ids, have points in.
    """
    known = {source.id: source for source in sources}
    here = points_of(known.values())
    there = points_of(as_taken(copy) for copy in copies)
    kept = _kept({**there, **here}.values(), rules, forgotten)
    wanted = {here[key].snapshot_id for key in here.keys() - there.keys() if here[key] in kept}
    return tuple(sorted((known[each] for each in wanted), key=lambda each: (each.started, each.id), reverse=True))


def as_taken(copy: Snapshot) -> Snapshot:
    """The copy at the time its source was taken: EC2's own is the time of copying. As it is, if that tag is damaged."""
    try:
        taken = datetime.fromisoformat(copy.tags.get(tags.TAKEN, ""))
    except ValueError:
        return copy
    return replace(copy, started=taken) if taken.tzinfo else copy


def settled(
    offers: Iterable[Snapshot], copies: Iterable[Snapshot], wanted: Iterable[Snapshot]
) -> dict[str, str | None]:
    """The offers that nobody need keep for us any more, by their ids: the complete copy, or None where none is wanted.

    One that is not complete or not understood is not settled by that.
    """
    complete = {copy.tags.get(tags.SOURCE): copy.id for copy in copies if copy.state == "completed"}
    lacking = {each.id for each in wanted}
    understood = {point.snapshot_id for point in _all_points(offers)}
    return {snapshot_id: complete.get(snapshot_id) for snapshot_id in sorted(understood - lacking)}


def lineage(source: Snapshot) -> dict[str, str]:
    """What a snapshot says of its run, and its name. Marks and holds are not among it: they are a region's own."""
    of_the_run = {
        key: value for key, value in source.tags.items() if key in _OF_THE_RUN or key.startswith(tags.COMPLETE)
    }
    return {**of_the_run, tags.NAME: source.tags.get(tags.NAME, source.id)}


def copy_tags(source: Snapshot, region: str) -> dict[str, str]:
    """What the copy of a snapshot of `region` says: all that its source says of its run, and where it comes from."""
    return {
        **lineage(source),
        tags.ROLE: tags.Role.COPY,
        tags.SOURCE: source.id,
        tags.SOURCE_REGION: region,
        tags.TAKEN: source.started.isoformat(),
    }


def points_of(snapshots: Iterable[Snapshot]) -> dict[tuple[RunId, str], RestorePoint]:
    """One point a run and host."""
    return {(point.run, point.host_id): point for point in without_extras(_all_points(snapshots))}


def _all_points(snapshots: Iterable[Snapshot]) -> list[RestorePoint]:
    """Those in completed snapshots; what is damaged is left out."""
    found: list[RestorePoint] = []
    for snapshot in snapshots:
        with suppress(PermanentError):
            found += points_in(snapshot)
    return found


def _kept(held: Iterable[RestorePoint], rules: Rules, forgotten: AbstractSet[str]) -> set[RestorePoint]:
    """The points that some host keeps."""
    of_host: dict[str, list[RestorePoint]] = defaultdict(list)
    for point in held:
        if point.host_id not in forgotten:
            of_host[point.host_id].append(point)
    return {kept.point for points in of_host.values() for kept in retain(points, rules).kept}


def _wanted(source: Snapshot, copies: Iterable[Snapshot], intents: Iterable[CopyIntent]) -> _Wanted:
    return _Wanted(
        source,
        next((intent for intent in intents if intent.snapshot_id == source.id), None),
        tuple(copy for copy in copies if copy.tags.get(tags.SOURCE) == source.id),
    )


def _why_wait(each: _Wanted, busy: set[str], room: int, now: datetime) -> str | None:
    if each.pending is not None:
        return f"its copy {each.pending.id} is at {each.pending.progress} %"
    if each.is_on_its_way(now):
        return "its copy was asked for and does not show yet"
    if each.failure and each.asked and now < each.asked + RETRY_AFTER:
        return f"{each.failure}; it is asked for again after {(each.asked + RETRY_AFTER).isoformat()}"
    if each.receiver in busy:
        return f"another of {each.receiver} is being copied"
    if room <= 0:
        return f"{MOST_AT_ONCE} copies are under way, the most at once"
    return None


def _failures(wanted: Iterable[_Wanted], now: datetime) -> tuple[CopyFailure, ...]:
    """The attempt that is on its way has not failed yet."""
    return tuple(
        CopyFailure(each.source.id, each.attempts - each.is_on_its_way(now), each.failure)
        for each in wanted
        if each.failure
    )


def _served(intents: Iterable[CopyIntent], wanted: Iterable[_Wanted]) -> tuple[CopyIntent, ...]:
    needed = {each.source.id for each in wanted}
    return tuple(intent for intent in intents if intent.snapshot_id not in needed)
