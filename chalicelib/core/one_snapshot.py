"""A run's one snapshot, decided: adopt what is there, take it once more after an error, never two. Every run's plan.

CreateSnapshot has no client token: the intent is recorded, then it is looked for, then it is asked for once, then it is
looked for again. Only what certainly failed is asked for again.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from chalicelib.core.actions import Wait
from chalicelib.core.model import Run, RunState, Snapshot
from chalicelib.core.night_actions import AdoptSnapshot, CloseRun, IntendSnapshot, RunAction, TakeSnapshot

# EC2 may not show a new snapshot for minutes; only then is it safe to ask for it again.
SNAPSHOT_SETTLES = timedelta(minutes=5)
# A snapshot that ends in an error is taken once more, while the volume is there.
MOST_SNAPSHOTS = 2
# Whatever still stands in the way this long after the deadline, the run ends.
GIVE_UP = timedelta(hours=12)

_FAILED = "error"


def sound(snapshots: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    """Those that did not fail, the oldest first."""
    return tuple(sorted((each for each in snapshots if each.state != _FAILED), key=_by_age))


def failed(snapshots: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    return tuple(sorted((each for each in snapshots if each.state == _FAILED), key=_by_age))


def _by_age(snapshot: Snapshot) -> tuple[object, ...]:
    return snapshot.started, snapshot.id


# -- before there is one -----------------------------------------------------------------------------------------------


def adopt_what_is_there(snapshots: Iterable[Snapshot]) -> tuple[RunAction, ...]:
    """The oldest sound one, whoever asked for it; nothing when there is none."""
    return tuple(AdoptSnapshot(snapshot.id) for snapshot in sound(snapshots)[:1])


def why_no_other(snapshots: Iterable[Snapshot]) -> str | None:
    """Why none is taken any more; None while one may be."""
    errors = failed(snapshots)
    return f"snapshot {errors[-1].id} ended in an error too" if len(errors) >= MOST_SNAPSHOTS else None


def may_still_show(run: Run, now: datetime) -> bool:
    """Whether one was asked for so lately that EC2 need not show it yet."""
    return run.snapshot_intended is not None and now < run.snapshot_intended + SNAPSHOT_SETTLES


def take_once(run: Run, take: TakeSnapshot, now: datetime) -> tuple[RunAction, ...]:
    """Where none is to be seen: wait for what was asked for, or ask."""
    if may_still_show(run, now):
        return (Wait("a snapshot was asked for and does not show yet"),)
    return (IntendSnapshot(), take)


# -- once there is one -------------------------------------------------------------------------------------------------


def has_one(run: Run, snapshots: Iterable[Snapshot]) -> bool:
    """Whether the run has adopted one that did not fail."""
    return run.snapshot_id is not None and run.snapshot_id not in [snapshot.id for snapshot in failed(snapshots)]


def after_it(run: Run, snapshots: Iterable[Snapshot], now: datetime) -> Snapshot | Wait | CloseRun:
    """The adopted snapshot once it is complete; until then the step to do. It is waited for, for hours."""
    snapshot = next((snapshot for snapshot in snapshots if snapshot.id == run.snapshot_id), None)
    if snapshot is not None and snapshot.state == "completed":
        return snapshot
    if now >= run.deadline + GIVE_UP:
        return CloseRun(RunState.FAILED, f"snapshot {run.snapshot_id} never completed")
    progress = f"at {snapshot.progress} %" if snapshot else "not shown"
    return Wait(f"snapshot {run.snapshot_id} is {progress}")
