"""A night's pruning, decided: which snapshots stay, for which host and why, and which go, marked a day before.

Everything follows from the snapshots' own tags and the rules. A snapshot goes only when no host keeps a point in it,
and only if it carried the mark of an earlier day: between the two nights an operator can put a hold on it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.ids import parse_run
from chalicelib.core.model import SCHEMA, RestorePoint, RunId, Snapshot, TreeKind
from chalicelib.core.retention import Rules, retain
from chalicelib.errors import PermanentError

# Three nights without a good backup is no time to be deleting the old ones.
STALE_AFTER = timedelta(days=3)

# A healthy night lets go of one snapshot a receiver. Ten leave room for many receivers and a few missed nights, a third
# for large stocks; a rule set cut by mistake wants far more than either, and has to be confirmed.
ALWAYS_ALLOWED = 10
ALLOWED_SHARE = 3


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


@dataclass(frozen=True)
class LeftAlone:
    """A snapshot that nothing is decided about, and why."""

    snapshot: Snapshot
    why: str


@dataclass(frozen=True)
class PrunePlan:
    """What to do tonight, by snapshot id. When it is refused nothing is marked or deleted; unmarking only protects.

    To mark is to set the tag `ebbtide:marked` to `tonight`; to unmark, to set it to the empty string.
    """

    tonight: date
    verdicts: tuple[Verdict, ...]
    left_alone: tuple[LeftAlone, ...]
    mark: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    unmark: tuple[str, ...] = ()
    refused: str | None = None


@dataclass(frozen=True)
class _Backup:
    """A snapshot whose tags were understood."""

    snapshot: Snapshot
    run: RunId
    points: tuple[RestorePoint, ...]


def plan_prune(
    snapshots: Iterable[Snapshot],
    rules_of: Callable[[str], Rules],
    now: datetime,
    adopted: AbstractSet[str] = frozenset(),
    cap: int | None = None,
    uncopied: AbstractSet[str] = frozenset(),
) -> PrunePlan:
    """What tonight's pruning does with these snapshots, all of them, from all pages.

    `rules_of` gives the rules of a host id; `adopted` names the snapshots in which the catalogue has restore points;
    `cap` is the most deletions a night, `default_cap` unless an operator says otherwise; `uncopied` names those that
    are still to be copied to another region.
    """
    backups, left_alone = _understand(sorted(snapshots, key=_by_age))
    verdicts = _judge(backups, rules_of, adopted, uncopied)
    tonight = now.date()
    unwanted = [verdict.snapshot for verdict in verdicts if not verdict.is_wanted]
    due = _ids(snapshot for snapshot in unwanted if (_mark_of(snapshot) or tonight) < tonight)
    most = default_cap(len(verdicts)) if cap is None else cap
    refused = _why_refused(backups, now) or _why_too_many(due, most)
    return PrunePlan(
        tonight=tonight,
        verdicts=verdicts,
        left_alone=left_alone,
        mark=() if refused else _ids(snapshot for snapshot in unwanted if _mark_of(snapshot) is None),
        delete=() if refused else due,
        unmark=_ids(each.snapshot for each in verdicts if each.is_wanted and each.snapshot.tags.get(tags.MARKED)),
        refused=refused,
    )


def default_cap(backups: int) -> int:
    """The most snapshots one night may delete: ten, or a third of them where that is more."""
    return max(ALWAYS_ALLOWED, backups // ALLOWED_SHARE)


def points_in(snapshot: Snapshot) -> tuple[RestorePoint, ...]:
    """The restore points a completed backup snapshot tells of in its tags. Raises PermanentError."""
    run = parse_run(snapshot.tags.get(tags.RUN, ""))
    tree = _tree(snapshot)
    if snapshot.state != "completed":
        return ()
    return tuple(
        RestorePoint(host_id, snapshot.started, snapshot.id, run, tree, manifest=None)
        for host_id in tags.unpack(snapshot.tags)
    )


def _tree(snapshot: Snapshot) -> TreeKind:
    text = snapshot.tags.get(tags.TREE, "")
    try:
        return TreeKind(text)
    except ValueError:
        raise PermanentError(f"{text!r} is no kind of tree that this version knows") from None


def _understand(snapshots: Iterable[Snapshot]) -> tuple[list[_Backup], tuple[LeftAlone, ...]]:
    """The backups among the snapshots, and the rest, each with what keeps us from deciding about it."""
    backups, left_alone = [], []
    for snapshot in snapshots:
        why = _why_left_alone(snapshot)
        if why is not None:
            left_alone.append(LeftAlone(snapshot, why))
            continue
        try:
            points = points_in(snapshot)
        except PermanentError as damaged:
            left_alone.append(LeftAlone(snapshot, f"its tags are damaged: {damaged}"))
        else:
            backups.append(_Backup(snapshot, parse_run(snapshot.tags[tags.RUN]), points))
    return backups, tuple(left_alone)


def _why_left_alone(snapshot: Snapshot) -> str | None:
    if snapshot.tags.get(tags.ROLE) not in (tags.Role.BACKUP, tags.Role.COPY):
        return "it is not tagged as a backup of ours"
    if snapshot.tags.get(tags.SCHEMA) != str(SCHEMA):
        return f"its schema is {snapshot.tags.get(tags.SCHEMA, 'missing')}, and this version knows {SCHEMA}"
    if snapshot.state not in ("completed", "error"):
        return f"it is {snapshot.state}"
    return None


def _judge(
    backups: Sequence[_Backup],
    rules_of: Callable[[str], Rules],
    adopted: AbstractSet[str],
    uncopied: AbstractSet[str],
) -> tuple[Verdict, ...]:
    reasons: dict[str, list[Reason]] = defaultdict(list)
    for snapshot_id, reason in (
        *_held(backups),
        *_newest_of_each_receiver(backups),
        *_still_to_be_copied(backups, uncopied),
        *_kept_for_hosts(_without_extras(backups, adopted), rules_of),
    ):
        reasons[snapshot_id].append(reason)
    return tuple(Verdict(each.snapshot, tuple(reasons[each.snapshot.id])) for each in backups)


def _held(backups: Iterable[_Backup]) -> Iterable[tuple[str, Reason]]:
    for each in backups:
        hold = each.snapshot.tags.get(tags.HOLD)
        if hold:
            yield each.snapshot.id, Reason(f"held: {hold}")


def _newest_of_each_receiver(backups: Iterable[_Backup]) -> Iterable[tuple[str, Reason]]:
    """Complete hosts or not: it is the latest state of the volume, and what the next one may be made from."""
    newest = {each.run.receiver: each.snapshot.id for each in backups if each.snapshot.state == "completed"}
    for receiver, snapshot_id in newest.items():
        yield snapshot_id, Reason(f"newest snapshot of {receiver}")


def _still_to_be_copied(backups: Iterable[_Backup], uncopied: AbstractSet[str]) -> Iterable[tuple[str, Reason]]:
    for each in backups:
        if each.snapshot.id in uncopied:
            yield each.snapshot.id, Reason("still to be copied to another region")


def _without_extras(backups: Iterable[_Backup], adopted: AbstractSet[str]) -> list[RestorePoint]:
    """The points of one snapshot a run: the adopted one, else the oldest, which is the one a run adopts.

    CreateSnapshot has no client token, so a run may have left a second one behind.
    """
    of_run: dict[RunId, _Backup] = {}
    for each in sorted(backups, key=lambda each: each.snapshot.id not in adopted):
        if each.snapshot.state == "completed":
            of_run.setdefault(each.run, each)
    return [point for each in of_run.values() for point in each.points]


def _kept_for_hosts(points: Iterable[RestorePoint], rules_of: Callable[[str], Rules]) -> Iterable[tuple[str, Reason]]:
    of_host: dict[str, list[RestorePoint]] = defaultdict(list)
    for point in points:
        of_host[point.host_id].append(point)
    for host_id in sorted(of_host):
        for kept in retain(of_host[host_id], rules_of(host_id)).kept:
            for why in kept.reasons:
                yield kept.point.snapshot_id, Reason(why, host_id)


def _why_refused(backups: Sequence[_Backup], now: datetime) -> str | None:
    if not backups:
        return "no backup snapshot was found at all: check the listing before anything is deleted"
    good = [each.snapshot.started for each in backups if each.points]
    if not good:
        return "no completed snapshot holds a complete host: there is nothing good to keep"
    age = now - max(good)
    if age > STALE_AFTER:
        return f"the newest good snapshot is {age.days} days old: make backups run again before old ones go"
    return None


def _why_too_many(due: Sequence[str], most: int) -> str | None:
    if len(due) <= most:
        return None
    return (
        f"{len(due)} snapshots would be deleted and one night may delete {most}: "
        "check the retention rules, then confirm by allowing that many"
    )


def _mark_of(snapshot: Snapshot) -> date | None:
    """The day it was marked. A mark that is no date does not say when, so it counts as none."""
    try:
        return date.fromisoformat(snapshot.tags.get(tags.MARKED, ""))
    except ValueError:
        return None


def _by_age(snapshot: Snapshot) -> tuple[datetime, str]:
    return snapshot.started, snapshot.id


def _ids(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    return tuple(snapshot.id for snapshot in snapshots)
