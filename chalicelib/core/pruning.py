"""A night's pruning, decided: which snapshots stay, for which host and why, and which go, marked a day before.

A snapshot goes only when no host keeps a point in it and nothing protects it, and only if it carried the mark of an
earlier day: between the two nights an operator can put a hold on it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.core import tags
from chalicelib.core.backups import Backup, LeftAlone, find_next_source, is_damaged, mark_of, understand, without_extras
from chalicelib.core.damage import find_look_until
from chalicelib.core.holds import find_hold
from chalicelib.core.ids import own_host
from chalicelib.core.model import Pruning, RestorePoint, Snapshot
from chalicelib.core.prices import SNAPSHOT_GIB_MONTH
from chalicelib.core.proofs import Doubts, Proofs, newest_undoubted, with_its_proof
from chalicelib.core.protections import Protections
from chalicelib.core.refusals import default_cap, is_stale, why_refused, why_too_many
from chalicelib.core.retention import NEWEST_PROVEN, Retention, Rules, retain

# Two calls each, to see who may use it and to mark it, out of EC2's bucket of some 100 and 5 more a second
# (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html): what is left over is marked another night.
MOST_MARKED = 500
# Between mark and deletion a person has this long to say no, whenever the runs of either night close.
A_NIGHT = timedelta(hours=20)
# Pruning follows a night at once, and what EC2 shows one caller it need not show the next for a while.
SHOWS_WITHIN = timedelta(hours=1)
# Another pruning may follow at once, and whoever tells may be out of order for hours.
TOLD_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Stock:
    """All there is to decide on: snapshots from all pages, the catalogue's points, what drills and restores have
    proven, what of that the last of them did not, what protects which snapshot.

    `forgotten` are the ids of the hosts whose points keep nothing any more, because an operator said so.
    """

    snapshots: tuple[Snapshot, ...]
    points: tuple[RestorePoint, ...] = ()
    protected: Protections = field(default_factory=dict)
    forgotten: frozenset[str] = frozenset()
    proofs: Proofs = field(default_factory=dict)
    doubted: Doubts = frozenset()


@dataclass(frozen=True)
class Reason:
    """Why a snapshot stays; `host_id` is None when it is not for the sake of a host."""

    why: str
    host_id: str | None = None


@dataclass(frozen=True)
class Verdict:
    """One backup snapshot of ours; it is wanted while there is a reason."""

    snapshot: Snapshot
    reasons: tuple[Reason, ...]

    @property
    def is_wanted(self) -> bool:
        return bool(self.reasons)

    @property
    def most_usd_a_month(self) -> float:
        """The most it costs: the list price of its whole volume.

        EBS bills only the blocks that no earlier snapshot holds. How many those are is known to EBS direct alone
        (ListChangedBlocks), and deleting one snapshot leaves its blocks to the next one that needs them.
        """
        return self.snapshot.size_gib * SNAPSHOT_GIB_MONTH


class Fate(StrEnum):
    """What a plan does with a snapshot. An unwanted one waits: just marked, not yet marked, or the plan is refused."""

    KEEP = "keep"
    MARK = "mark"
    WAIT = "wait"
    DELETE = "delete"


@dataclass(frozen=True)
class PrunePlan:
    """What to do tonight, by snapshot id. When it is refused nothing is marked or deleted; unmarking only protects.

    To mark is to set the tag `ebbtide:marked` to `tonight`, the moment of the plan; to unmark, to set it to the empty
    string. `missing` are the catalogue's points in snapshots that were not listed, though EC2 must show them by now;
    `unrecorded` those of snapshots that stay, which the catalogue lacks: they are decided on like all others;
    `damaged` those that it has though nobody can restore from them, because their snapshot was found damaged.
    """

    tonight: datetime
    verdicts: tuple[Verdict, ...]
    left_alone: tuple[LeftAlone, ...]
    mark: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    unmark: tuple[str, ...] = ()
    refused: str | None = None
    missing: tuple[RestorePoint, ...] = ()
    unrecorded: tuple[RestorePoint, ...] = ()
    damaged: tuple[RestorePoint, ...] = ()

    @property
    def fates(self) -> tuple[Fate, ...]:
        """What becomes of each verdict's snapshot, beside the verdicts."""
        going = dict.fromkeys(self.mark, Fate.MARK) | dict.fromkeys(self.delete, Fate.DELETE)
        return tuple(Fate.KEEP if each.is_wanted else going.get(each.snapshot.id, Fate.WAIT) for each in self.verdicts)


def plan_prune(stock: Stock, rules_of: Callable[[str], Rules], now: datetime, cap: int | None = None) -> PrunePlan:
    """What tonight's pruning does with this stock.

    `rules_of` gives the rules of a host id; `cap` is the most deletions, `default_cap` unless an operator says
    otherwise.
    """
    backups, left_alone = understand(stock.snapshots)
    points = _points_of(backups, stock)
    verdicts = _judge(backups, points, stock, rules_of, now)
    unwanted = [verdict.snapshot for verdict in verdicts if not verdict.is_wanted]
    due = _ids(snapshot for snapshot in unwanted if _was_marked_a_night_ago(snapshot, now))
    most = default_cap(len(verdicts)) if cap is None else cap
    good = [each.snapshot.started for each in backups if each.points]
    refused = why_refused(len(backups), good, len(stock.points), now) or why_too_many(len(due), most)
    return PrunePlan(
        tonight=now,
        verdicts=verdicts,
        left_alone=left_alone,
        mark=() if refused else _ids(snapshot for snapshot in unwanted if mark_of(snapshot) is None)[:MOST_MARKED],
        delete=() if refused else due,
        unmark=_ids(each.snapshot for each in verdicts if each.is_wanted and each.snapshot.tags.get(tags.MARKED)),
        refused=refused,
        missing=() if refused else _missing(stock, now),
        unrecorded=_unrecorded(points, verdicts, stock),
        damaged=_damaged(stock),
    )


def _missing(stock: Stock, now: datetime) -> tuple[RestorePoint, ...]:
    listed = {snapshot.id for snapshot in stock.snapshots}
    return tuple(point for point in stock.points if point.snapshot_id not in listed and now - point.at >= SHOWS_WITHIN)


def _unrecorded(points: Iterable[RestorePoint], verdicts: Iterable[Verdict], stock: Stock) -> tuple[RestorePoint, ...]:
    known = {(point.host_id, point.snapshot_id) for point in stock.points}
    staying = {verdict.snapshot.id for verdict in verdicts if verdict.is_wanted}
    lacking = (point for point in points if (point.host_id, point.snapshot_id) not in known)
    return tuple(point for point in lacking if point.snapshot_id in staying)


def _damaged(stock: Stock) -> tuple[RestorePoint, ...]:
    found = {snapshot.id for snapshot in stock.snapshots if is_damaged(snapshot)}
    return tuple(point for point in stock.points if point.snapshot_id in found)


def still_told(before: Pruning | None, gone: tuple[str, ...], now: datetime) -> tuple[tuple[str, ...], datetime | None]:
    """What a pruning says is gone, and found when: what an earlier one found, too, until someone has heard of it."""
    if before is None or before.missed is None or now - before.missed >= TOLD_FOR:
        return gone, now if gone else None
    known = tuple(each for each in before.gone if each not in gone)
    return (*known, *gone), now if gone else before.missed


def may_still_go(snapshot: Snapshot, plan: PrunePlan) -> bool:
    """Looked at again just before it is deleted: still marked a night ago, and held by nobody since."""
    return _was_marked_a_night_ago(snapshot, plan.tonight) and find_hold(snapshot.tags) is None


def _was_marked_a_night_ago(snapshot: Snapshot, now: datetime) -> bool:
    marked = mark_of(snapshot)
    return marked is not None and now - marked >= A_NIGHT


def _judge(
    backups: Sequence[Backup],
    points: Iterable[RestorePoint],
    stock: Stock,
    rules_of: Callable[[str], Rules],
    now: datetime,
) -> tuple[Verdict, ...]:
    reasons: dict[str, list[Reason]] = defaultdict(list)
    for snapshot_id, reason in (
        *_held(backups),
        *_protected(backups, stock.protected),
        *_newest_of_each_receiver(backups),
        *_damaged_ones(backups, _points_of(backups, stock, also_damaged=True), rules_of, now),
        *_kept_for_hosts(points, rules_of, now),
        *_surely_proven(points, stock.doubted),
    ):
        reasons[snapshot_id].append(reason)
    return tuple(Verdict(each.snapshot, tuple(dict.fromkeys(reasons[each.snapshot.id]))) for each in backups)


def _held(backups: Iterable[Backup]) -> Iterable[tuple[str, Reason]]:
    for each in backups:
        hold = find_hold(each.snapshot.tags)
        if hold is not None:
            yield each.snapshot.id, Reason(str(hold))


def _protected(backups: Iterable[Backup], protected: Protections) -> Iterable[tuple[str, Reason]]:
    for each in backups:
        for why in protected.get(each.snapshot.id, ()):
            yield each.snapshot.id, Reason(why)


def _newest_of_each_receiver(backups: Iterable[Backup]) -> Iterable[tuple[str, Reason]]:
    """Complete hosts or not: it is the latest state of the volume. And what the next one may be made from.

    A host's own volume is never made from one: there its points alone decide.
    """
    of_receiver: dict[str, list[Snapshot]] = defaultdict(list)
    for each in backups:
        if own_host(each.run) is None:
            of_receiver[each.run.receiver].append(each.snapshot)
    for receiver, snapshots in of_receiver.items():
        completed = [each for each in snapshots if each.state == "completed"]
        newest = {each.id for each in (*completed[-1:], find_next_source(snapshots)) if each is not None}
        yield from ((snapshot_id, Reason(f"newest snapshot of {receiver}")) for snapshot_id in sorted(newest))


def _damaged_ones(
    backups: Iterable[Backup], told: Iterable[RestorePoint], rules_of: Callable[[str], Rules], now: datetime
) -> Iterable[tuple[str, Reason]]:
    """Nothing goes sooner for being called damaged: whoever is root on a receiver can call it so."""
    damaged = [each.snapshot for each in backups if is_damaged(each.snapshot)]
    for each in damaged:
        until = find_look_until(each)
        if until is not None and now < until:
            yield each.id, Reason(f"found damaged, kept until {until:%Y-%m-%d} to be looked at")
    damaged_ids = _ids(damaged)
    for snapshot_id, reason in _kept_for_hosts(told, rules_of, now):
        if snapshot_id in damaged_ids:
            yield snapshot_id, replace(reason, why=f"damaged; otherwise {reason.why}")


def _points_of(backups: Iterable[Backup], stock: Stock, also_damaged: bool = False) -> list[RestorePoint]:
    """What the tags tell, and of each point what only the catalogue knows: that it is proven.

    By its drills above all: a point that counts again, for its snapshot is not called damaged any more, is as proven as
    it was.
    """
    recorded = {(point.host_id, point.snapshot_id): point.proven for point in stock.points if point.proven}
    proofs = {**recorded, **stock.proofs}
    adopted = {point.snapshot_id for point in stock.points}
    found = without_extras(
        (point for each in backups for point in (each.told if also_damaged else each.points)), adopted
    )
    return [with_its_proof(point, proofs) for point in found if point.host_id not in stock.forgotten]


def _kept_for_hosts(
    points: Iterable[RestorePoint], rules_of: Callable[[str], Rules], now: datetime
) -> Iterable[tuple[str, Reason]]:
    of_host: dict[str, list[RestorePoint]] = defaultdict(list)
    for point in points:
        of_host[point.host_id].append(point)
    for host_id in sorted(of_host):
        retention = retain(of_host[host_id], rules_of(host_id))
        for kept in retention.kept:
            for why in kept.reasons:
                yield kept.point.snapshot_id, Reason(why, host_id)
        yield from _kept_while_stale(host_id, retention, now)


def _surely_proven(points: Iterable[RestorePoint], doubted: Doubts) -> Iterable[tuple[str, Reason]]:
    """Beside the newest proven point of a host, the one before it while what was tried of it last came to nothing."""
    for point in newest_undoubted(points, doubted):
        yield point.snapshot_id, Reason(NEWEST_PROVEN, point.host_id)


def _kept_while_stale(host_id: str, retention: Retention, now: datetime) -> Iterable[tuple[str, Reason]]:
    """Nothing of a host goes while its backups fail, however the rules have changed meanwhile."""
    newest = max(kept.point.at for kept in retention.kept)
    if is_stale(newest, now):
        for point in retention.expired:
            yield point.snapshot_id, Reason(f"its newest point is {(now - newest).days} days old", host_id)


def _ids(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    return tuple(snapshot.id for snapshot in snapshots)
