"""The night of a host with a volume of its own, case by case: what is observed, and what follows."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import tags
from chalicelib.core.actions import Wait
from chalicelib.core.model import HostStatus, RestorePoint, Run, RunState, Snapshot, TreeKind
from chalicelib.core.night_actions import AdoptSnapshot, CloseRun, IntendSnapshot, RecordPoints, TakeSnapshot
from chalicelib.core.one_snapshot import GIVE_UP, SNAPSHOT_SETTLES
from chalicelib.core.volume_night import APART, MARGIN, VOLUME_SETTLES, OwnReport, VolumeWorld, plan_volume
from tests.nights import A_MINUTE
from tests.own_volumes import (
    DONE,
    INSTANCE,
    QUIET,
    RUN,
    an_own_result,
    an_own_run,
    an_own_snapshot,
    an_own_world,
    its_volume,
)

SOON = DONE + A_MINUTE
PROMISED = DONE + QUIET
TAKE = TakeSnapshot("vol-web1", ("web1",), TreeKind.REAL, tags.Consistency.RELEASED)


def why(run: Run, world: VolumeWorld, now: datetime) -> str:
    """Why it closes, which it does without a restore point."""
    (closing,) = plan_volume(run, world, now)
    assert isinstance(closing, CloseRun)
    assert closing.state is RunState.FAILED
    return str(closing.why)


# -- the one snapshot --------------------------------------------------------------------------------------------------


def test_a_complete_report_asks_for_the_snapshot_of_the_hosts_volume() -> None:
    assert plan_volume(an_own_run(), an_own_world(), SOON) == (IntendSnapshot(), TAKE)


def test_a_volume_that_could_not_be_unmounted_gives_a_crash_consistent_snapshot() -> None:
    mounted = an_own_world(report=OwnReport("vol-web1", TreeKind.REAL, unmounted=False))

    assert plan_volume(an_own_run(), mounted, SOON)[1] == replace(TAKE, consistency=tags.Consistency.CRASH)


def test_a_volume_that_the_host_has_even_detached_is_still_its_own() -> None:
    assert TAKE in plan_volume(an_own_run(), an_own_world(volumes=(its_volume(attached_to=None),)), SOON)


def test_what_was_asked_for_and_does_not_show_is_waited_for_and_then_asked_for_again() -> None:
    intended = an_own_run(snapshot_intended=SOON)

    assert isinstance(plan_volume(intended, an_own_world(), SOON + SNAPSHOT_SETTLES - A_MINUTE)[0], Wait)
    assert TAKE in plan_volume(intended, an_own_world(), SOON + SNAPSHOT_SETTLES)


def test_a_snapshot_sooner_than_an_hour_after_the_last_one_is_waited_with() -> None:
    soon_again = an_own_world(last_taken=SOON)

    assert isinstance(plan_volume(an_own_run(), soon_again, SOON + APART - A_MINUTE)[0], Wait)
    assert TAKE in plan_volume(an_own_run(), soon_again, SOON + APART)


def test_a_snapshot_that_shows_is_adopted_even_when_the_promise_is_over() -> None:
    shown = an_own_world(snapshots=(an_own_snapshot(),))

    assert plan_volume(an_own_run(), shown, PROMISED + A_MINUTE) == (AdoptSnapshot("snap-1"),)


def test_a_pending_snapshot_is_waited_for_long_after_the_promise_and_then_given_up() -> None:
    run, pending = an_own_run(snapshot_id="snap-1"), an_own_world(snapshots=(an_own_snapshot(state="pending"),))

    assert isinstance(plan_volume(run, pending, PROMISED + GIVE_UP - A_MINUTE)[0], Wait)
    assert why(run, pending, PROMISED + GIVE_UP) == "snapshot snap-1 never completed"


def test_a_snapshot_that_ends_in_an_error_is_taken_once_more_and_no_third_time() -> None:
    failed = an_own_snapshot(state="error")
    run = an_own_run(snapshot_id="snap-1", snapshot_intended=SOON)

    assert TAKE in plan_volume(run, an_own_world(snapshots=(failed,)), SOON + SNAPSHOT_SETTLES)
    twice = an_own_world(snapshots=(failed, replace(failed, id="snap-2")))
    assert "ended in an error too" in why(run, twice, SOON + SNAPSHOT_SETTLES)


def test_a_complete_snapshot_gives_the_host_a_restore_point_of_a_real_tree() -> None:
    run, snapshot = an_own_run(snapshot_id="snap-1"), an_own_snapshot()

    recorded, closing = plan_volume(run, an_own_world(snapshots=(snapshot,)), SOON)

    manifest = f"manifests/web1/{RUN}.jsonl.gz"
    point = RestorePoint("web1", snapshot.started, "snap-1", RUN, TreeKind.REAL, manifest)
    assert recorded == RecordPoints((point,))
    assert closing == CloseRun(RunState.DONE, None)


# -- the promise -------------------------------------------------------------------------------------------------------


def test_no_snapshot_is_taken_once_the_host_may_be_writing_again() -> None:
    assert TAKE in plan_volume(an_own_run(), an_own_world(), PROMISED - MARGIN)
    assert "left alone, until 2026-11-23T14:12" in why(an_own_run(), an_own_world(), PROMISED - MARGIN + A_MINUTE)


def test_a_snapshot_asked_for_at_the_last_moment_is_looked_for_before_the_run_gives_up() -> None:
    last = PROMISED - MARGIN
    run = an_own_run(snapshot_intended=last)

    assert isinstance(plan_volume(run, an_own_world(), last + A_MINUTE)[0], Wait)
    assert "no snapshot could be taken" in why(run, an_own_world(), last + SNAPSHOT_SETTLES)


def test_a_report_from_the_future_is_believed_only_within_the_difference_of_clocks() -> None:
    assert TAKE in plan_volume(an_own_run(), an_own_world(), DONE - MARGIN)
    assert "clock is ahead" in why(an_own_run(), an_own_world(), DONE - MARGIN - A_MINUTE)


# -- the volume --------------------------------------------------------------------------------------------------------

UNFIT = {
    "none": (an_own_world(volumes=()), "there is no volume of it"),
    "two": (an_own_world(volumes=(its_volume(), its_volume("vol-2"))), "vol-2, vol-web1 are all tagged"),
    "elsewhere": (
        an_own_world(volumes=(its_volume(attached_to="i-9"),)),
        f"attached to i-9, and the policy says {INSTANCE}",
    ),
    "another": (
        an_own_world(volumes=(its_volume("vol-2"),)),
        "it reports volume vol-web1, and tagged as its own is vol-2",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_volume_that_is_not_certain_is_not_guessed(case: str) -> None:
    world, reason = UNFIT[case]

    (waiting,) = plan_volume(an_own_run(), world, DONE + VOLUME_SETTLES - A_MINUTE)
    assert isinstance(waiting, Wait)
    assert reason in waiting.why
    assert reason in why(an_own_run(), world, DONE + VOLUME_SETTLES)
    assert reason in why(an_own_run(), world, PROMISED)


# -- reports without a restore point -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [HostStatus.PARTIAL, HostStatus.FAILED, HostStatus.SUSPECT])
def test_a_host_that_is_not_complete_closes_its_run_without_a_snapshot(status: HostStatus) -> None:
    world = an_own_world(results=(an_own_result(status),), volumes=())

    assert why(an_own_run(), world, SOON) == f"not complete: web1 {status}"


def test_a_report_that_cannot_be_read_closes_its_run() -> None:
    world = an_own_world(report=None, unreadable="not JSON", results=())

    assert why(an_own_run(deadline=DONE), world, SOON) == "its report does not count: not JSON"


@pytest.mark.parametrize("state", [RunState.DONE, RunState.DEGRADED, RunState.FAILED])
def test_a_closed_run_stays_as_it_is(state: RunState) -> None:
    assert plan_volume(an_own_run(state=state), an_own_world(), SOON) == ()


# -- laws --------------------------------------------------------------------------------------------------------------

SNAPSHOTS = st.lists(
    st.builds(
        an_own_snapshot,
        st.sampled_from(["snap-1", "snap-2", "snap-3"]),
        st.sampled_from(["pending", "completed", "error"]),
        st.just(SOON),
    ),
    max_size=3,
    unique_by=lambda snapshot: snapshot.id,
).map(tuple)
VOLUMES = st.sampled_from([(), (its_volume(),), (its_volume(attached_to="i-9"),), (its_volume(), its_volume("vol-2"))])
MOMENTS = st.integers(-60, 30 * 60).map(lambda minutes: DONE + timedelta(minutes=minutes))


@given(
    snapshots=SNAPSHOTS,
    volumes=VOLUMES,
    status=st.sampled_from([HostStatus.COMPLETE, HostStatus.PARTIAL, HostStatus.SUSPECT]),
    intended=st.none() | MOMENTS,
    adopted=st.sampled_from([None, "snap-1", "snap-2"]),
    now=MOMENTS,
)
def test_whatever_is_seen_a_snapshot_is_taken_only_of_a_quiet_volume_that_is_certain_and_has_none(
    snapshots: tuple[Snapshot, ...],
    volumes: tuple[object, ...],
    status: HostStatus,
    intended: datetime | None,
    adopted: str | None,
    now: datetime,
) -> None:
    run = an_own_run(snapshot_intended=intended, snapshot_id=adopted)
    world = an_own_world(snapshots=snapshots, volumes=volumes, results=(an_own_result(status),))

    steps = plan_volume(run, world, now)

    assert steps
    if any(isinstance(step, TakeSnapshot) for step in steps):
        assert steps == (IntendSnapshot(), TAKE)
        assert volumes == (its_volume(),)
        assert status is HostStatus.COMPLETE
        assert all(snapshot.state == "error" for snapshot in snapshots)
        assert DONE - MARGIN <= now <= PROMISED - MARGIN


@given(snapshots=SNAPSHOTS, volumes=VOLUMES, adopted=st.sampled_from([None, "snap-1"]))
def test_every_run_ends(snapshots: tuple[Snapshot, ...], volumes: tuple[object, ...], adopted: str | None) -> None:
    world = an_own_world(snapshots=snapshots, volumes=volumes)
    steps = plan_volume(an_own_run(snapshot_id=adopted), world, PROMISED + GIVE_UP)

    assert isinstance(steps[-1], CloseRun | AdoptSnapshot)
