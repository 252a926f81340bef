"""What our snapshots tell of themselves: a run, the hosts that were complete, the day it was marked to go, damage."""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.core import tags
from chalicelib.core.ids import parse_run
from chalicelib.core.model import SCHEMA, RestorePoint, RunId, Snapshot, TreeKind
from chalicelib.errors import PermanentError


@dataclass(frozen=True)
class Backup:
    """A snapshot whose tags were understood; `told` are the points they tell of, damaged or not."""

    snapshot: Snapshot
    run: RunId
    told: tuple[RestorePoint, ...]

    @property
    def points(self) -> tuple[RestorePoint, ...]:
        return () if is_damaged(self.snapshot) else self.told


@dataclass(frozen=True)
class LeftAlone:
    """A snapshot that nothing is decided about, and why."""

    snapshot: Snapshot
    why: str


def is_ours(snapshot: Snapshot) -> bool:
    """A backup, or a copy of one in the standby's region."""
    return snapshot.tags.get(tags.ROLE) in (tags.Role.BACKUP, tags.Role.COPY)


def is_damaged(snapshot: Snapshot) -> bool:
    """Whether somebody found that no sound file system can be made of it: a receiver of ours, or a person by hand."""
    return tags.DAMAGED in snapshot.tags


def points_in(snapshot: Snapshot) -> tuple[RestorePoint, ...]:
    """The restore points of a completed backup snapshot: none when it is damaged. Raises PermanentError."""
    told = points_told_in(snapshot)
    return () if is_damaged(snapshot) else told


def points_told_in(snapshot: Snapshot) -> tuple[RestorePoint, ...]:
    """The restore points a completed backup snapshot tells of in its tags, damaged or not. Raises PermanentError."""
    run = parse_run(snapshot.tags.get(tags.RUN, ""))
    tree = _tree(snapshot)
    host_ids = tags.unpack(snapshot.tags)
    if snapshot.state != "completed":
        return ()
    return tuple(RestorePoint(host_id, snapshot.started, snapshot.id, run, tree, manifest=None) for host_id in host_ids)


def find_next_source(snapshots: Collection[Snapshot]) -> Snapshot | None:
    """What the next volume is made from, of one receiver's snapshots: the newest one.

    Once one was found damaged, it is the newest of those that somebody could restore from.
    """
    completed = [each for each in snapshots if each.state == "completed" and not is_damaged(each)]
    if any(map(is_damaged, snapshots)):
        completed = [each for each in completed if any(name.startswith(tags.COMPLETE) for name in each.tags)]
    return max(completed, key=_by_age, default=None)


def without_extras(points: Iterable[RestorePoint], adopted: AbstractSet[str] = frozenset()) -> list[RestorePoint]:
    """One point a run and host: that in an adopted snapshot, else in the oldest, which is the one a run adopts.

    CreateSnapshot has no client token, so a run may have left a second one behind. It is no extra for a host that was
    complete in it alone.
    """
    chosen: dict[tuple[RunId, str], RestorePoint] = {}
    for point in sorted(points, key=lambda each: (each.snapshot_id not in adopted, each.at, each.snapshot_id)):
        chosen.setdefault((point.run, point.host_id), point)
    return list(chosen.values())


def _tree(snapshot: Snapshot) -> TreeKind:
    text = snapshot.tags.get(tags.TREE, "")
    try:
        return TreeKind(text)
    except ValueError:
        raise PermanentError(f"{text!r} is no kind of tree that this version knows") from None


def understand(snapshots: Iterable[Snapshot]) -> tuple[list[Backup], tuple[LeftAlone, ...]]:
    """The backups among them, the oldest first, and the rest, each with what keeps us from deciding about it."""
    backups, left_alone = [], []
    for snapshot in sorted(snapshots, key=_by_age):
        why = _why_left_alone(snapshot)
        if why is not None:
            left_alone.append(LeftAlone(snapshot, why))
            continue
        try:
            told = points_told_in(snapshot)
        except PermanentError as damaged:
            left_alone.append(LeftAlone(snapshot, f"its tags are damaged: {damaged}"))
        else:
            backups.append(Backup(snapshot, parse_run(snapshot.tags[tags.RUN]), told))
    return backups, tuple(left_alone)


def _why_left_alone(snapshot: Snapshot) -> str | None:
    if not is_ours(snapshot):
        return "it is not tagged as a backup of ours"
    if snapshot.tags.get(tags.SCHEMA) != str(SCHEMA):
        return f"its schema is {snapshot.tags.get(tags.SCHEMA, 'missing')}, and this version knows {SCHEMA}"
    if snapshot.state not in ("completed", "error"):
        return f"it is {snapshot.state}"
    return None


def mark_of(snapshot: Snapshot) -> datetime | None:
    """When it was marked, UTC unless it says otherwise. A mark that is no time does not say when: it counts as none."""
    try:
        marked = datetime.fromisoformat(snapshot.tags.get(tags.MARKED, ""))
    except ValueError:
        return None
    return marked if marked.tzinfo else marked.replace(tzinfo=UTC)


def _by_age(snapshot: Snapshot) -> tuple[datetime, str]:
    return snapshot.started, snapshot.id
