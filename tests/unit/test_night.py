"""The night, case by case: what is observed on the left, what follows on the right."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.actions import AttachVolume, Wait, WriteBrief
from chalicelib.core.model import HostStatus, Run, RunState, TreeKind
from chalicelib.core.night import (
    GRACE,
    LEAST_TIME_LEFT,
    LOOKED_THROUGH_WITHIN,
    MACHINE_SETTLES,
    MOST_MACHINES,
    READY_WITHIN,
    plan,
)
from chalicelib.core.night_actions import (
    Action,
    AdoptSnapshot,
    AllowNetworks,
    CloseRun,
    CreateVolume,
    IntendSnapshot,
    LaunchReceiver,
    PointAddress,
    RecordPoints,
    TakeSnapshot,
    TerminateReceiver,
)
from chalicelib.core.night_world import NightWorld
from chalicelib.core.one_snapshot import GIVE_UP, SNAPSHOT_SETTLES
from tests.builders import a_moment, a_point, a_result, a_run, a_run_id, a_snapshot, a_volume
from tests.nights import (
    A_MINUTE,
    DEADLINE,
    NETWORKS,
    OPENED,
    a_launched_run,
    a_night,
    a_receiver_machine,
    a_serving_night,
    a_spent_night,
    kinds,
)

TAKE_BOTH = TakeSnapshot("vol-1", ("eu0a", "us0a"), TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)

TOWARDS_THE_REPORTS: dict[str, tuple[Run, NightWorld, tuple[Action, ...]]] = {
    "without a volume, one is made": (a_run(), a_night(volumes=()), (CreateVolume("zone-a", 80, None),)),
    "a volume without a brief gets one": (a_run(), a_night(briefed=frozenset()), (WriteBrief("vol-1"),)),
    "a briefed night launches its receiver": (
        a_run(),
        a_night(),
        (LaunchReceiver(1, OPENED + A_MINUTE, "vol-1", "zone-a"),),
    ),
    "a running receiver gets the volume": (
        a_launched_run(),
        a_night(machines=(a_receiver_machine(),)),
        (AttachVolume("vol-1", "i-1"),),
    ),
    "with the volume it is let be reached by all who may": (
        a_launched_run(),
        a_serving_night(open_to=("192.0.2.0/24",), address="10.9.9.9"),
        (AllowNetworks(NETWORKS),),
    ),
    "also when last night's had the same address": (
        a_launched_run(),
        a_serving_night(open_to=()),
        (AllowNetworks(NETWORKS),),
    ),
    "reachable, it is named": (
        a_launched_run(),
        a_serving_night(address="10.9.9.9"),
        (PointAddress("backup.example.org", "10.0.0.1"),),
    ),
}


@pytest.mark.parametrize("case", TOWARDS_THE_REPORTS)
def test_a_night_goes_step_by_step_towards_the_reports(case: str) -> None:
    run, night, expected = TOWARDS_THE_REPORTS[case]

    assert plan(run, night, OPENED + A_MINUTE) == expected


WAITING: dict[str, tuple[Run, NightWorld]] = {
    "for a volume that is being made": (a_run(), a_night(volumes=(a_volume(state="creating"),))),
    "for a machine that EC2 does not show yet": (a_launched_run(), a_night()),
    "for a machine that starts": (a_launched_run(), a_night(machines=(a_receiver_machine(state="pending"),))),
    "for a volume that another machine still holds": (
        a_launched_run(),
        a_night(machines=(a_receiver_machine(),), volumes=(a_volume(attached_to="i-9"),)),
    ),
    "for the reports": (a_launched_run(), a_serving_night()),
    "for a machine that goes": (
        a_launched_run(),
        a_serving_night(machines=(a_receiver_machine(state="shutting-down"),)),
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_a_night_waits(case: str) -> None:
    run, night = WAITING[case]

    assert kinds(plan(run, night, OPENED + A_MINUTE)) == [Wait]


def test_waiting_says_for_whom() -> None:
    (wait,) = plan(a_launched_run(), a_serving_night(results=(a_result("us0"),)), OPENED + A_MINUTE)

    assert wait == Wait("reports of eu0")


def test_a_machine_that_never_showed_is_asked_for_again_with_the_same_request() -> None:
    later = OPENED + MACHINE_SETTLES

    assert plan(a_launched_run(), a_night(), later) == (LaunchReceiver(1, OPENED, "vol-1", "zone-a"),)


def test_a_receiver_lost_before_the_deadline_is_replaced() -> None:
    lost = a_spent_night(released=frozenset(), results=(a_result("us0"),))

    assert plan(a_launched_run(), lost, a_moment(3)) == (LaunchReceiver(2, a_moment(3), "vol-1", "zone-a"),)


@pytest.mark.parametrize("shown", [("terminated",), ()], ids=["EC2 shows it", "EC2 has forgotten it"])
def test_a_receiver_that_was_stopped_before_the_deadline_is_replaced(shown: tuple[str, ...]) -> None:
    machines = tuple(a_receiver_machine(state=state) for state in shown)
    stopped = a_spent_night(machines=machines, results=(a_result("us0"),))

    assert plan(a_launched_run(), stopped, a_moment(3)) == (LaunchReceiver(2, a_moment(3), "vol-1", "zone-a"),)


def test_a_receiver_that_ec2_has_stopped_is_ended_and_one_that_it_stops_may_let_go_first() -> None:
    stopping, stopped = (
        a_serving_night(machines=(a_receiver_machine(state=state),)) for state in ("stopping", "stopped")
    )

    assert kinds(plan(a_launched_run(), stopping, a_moment(3))) == [Wait]
    assert kinds(plan(a_launched_run(), stopped, a_moment(3))) == [TerminateReceiver]


def test_a_receiver_that_lets_go_stands_until_ec2_says_that_it_is_gone() -> None:
    letting_go = a_serving_night(released=frozenset({1}))

    assert kinds(plan(a_launched_run(), letting_go, a_moment(3))) == [Wait]


def test_the_snapshot_is_of_what_the_last_receiver_has_left() -> None:
    machines = (a_receiver_machine(1, "terminated"), a_receiver_machine(2, "terminated"))
    first_let_go, second_was_lost = a_spent_night(machines=machines, ready=frozenset({1, 2})), a_launched_run(2)

    (_, take) = plan(second_was_lost, first_let_go, a_moment(3))

    assert take == replace(TAKE_BOTH, consistency=tags.Consistency.CRASH)


def test_no_other_receiver_is_tried_with_a_volume_that_takes_no_more() -> None:
    (closing,) = plan(a_launched_run(), a_spent_night(results=(), read_only=True), a_moment(3))

    assert isinstance(closing, CloseRun)
    assert "turned read-only" in str(closing.why)


def test_a_receiver_that_was_never_ready_is_replaced_once() -> None:
    never_ready = (a_receiver_machine(1, "terminated"), a_receiver_machine(2, "terminated"))

    first = plan(a_launched_run(1), a_night(machines=never_ready[:1]), a_moment(3))
    second = plan(a_launched_run(2), a_night(machines=never_ready), a_moment(3))

    assert first == (LaunchReceiver(2, a_moment(3), "vol-1", "zone-a"),)
    assert second == (CloseRun(RunState.FAILED, "no receiver was ready in time, of 2"),)


def test_a_receiver_that_lets_nobody_in_is_ended_at_once_with_its_words() -> None:
    standing = a_serving_night(ready=frozenset(), refused={1: "rsync 3.2.7 is too old"})

    assert plan(a_launched_run(), standing, a_moment(2, 3)) == (
        TerminateReceiver("i-1", "it lets nobody in: rsync 3.2.7 is too old"),
    )


def test_a_receiver_is_not_ended_for_what_the_one_before_it_said() -> None:
    machines = (a_receiver_machine(1, "terminated"), a_receiver_machine(2))
    volumes = (a_volume(attached_to="i-2"),)
    serving = a_serving_night(machines=machines, volumes=volumes, refused={1: "the clock is wrong"})

    assert kinds(plan(a_launched_run(2), serving, a_moment(2, 10))) == [Wait]


@pytest.mark.parametrize(
    ("machines", "begins"), [((1, 2), "no receiver was ready in time, of 2"), ((), "no receiver could be launched")]
)
def test_a_night_that_fails_says_what_the_last_receiver_said(machines: tuple[int, ...], begins: str) -> None:
    gone = tuple(a_receiver_machine(attempt, "terminated") for attempt in machines)
    refused = {2: "volume vol-1 belongs to receiver 'other'", 1: "the clock is wrong"}

    (closing,) = plan(a_launched_run(2), a_night(machines=gone, refused=refused), DEADLINE)

    assert isinstance(closing, CloseRun)
    assert closing.why is not None
    assert closing.why.startswith(begins)
    assert closing.why.endswith("; receiver 2 says: volume vol-1 belongs to receiver 'other'")


@pytest.mark.parametrize(
    ("reported", "why"),
    [
        (("us0", "eu0"), None),
        (("us0",), "not complete: eu0 missing; receiver 2 says: rsync is missing"),
        ((), "not complete: us0 missing, eu0 missing; receiver 2 says: rsync is missing"),
    ],
)
def test_hosts_that_found_no_receiver_any_more_are_told_of_with_what_it_said(
    reported: tuple[str, ...], why: str | None
) -> None:
    results = tuple(map(a_result, reported))
    night = a_spent_night(results=results, snapshots=(a_snapshot("snap-1"),), refused={2: "rsync is missing"})

    *_, closing = plan(a_launched_run(2, snapshot_id="snap-1"), night, a_moment(4))

    assert isinstance(closing, CloseRun)
    assert closing.why == why


def test_a_volume_that_no_receiver_could_get_is_told_with_who_holds_it() -> None:
    machines = (a_receiver_machine(1, "terminated"), a_receiver_machine(2, "terminated"))
    stuck = a_night(machines=machines, volumes=(a_volume(attached_to="i-9"),))

    (closing,) = plan(a_launched_run(2), stuck, a_moment(3))

    assert "volume vol-1 is in-use, attached to i-9" in str(closing)


def test_a_receiver_that_was_ready_and_lost_does_not_count_as_never_ready() -> None:
    machines = (a_receiver_machine(1, "terminated"), a_receiver_machine(2, "terminated"))

    actions = plan(a_launched_run(2), a_night(machines=machines, ready=frozenset({1})), a_moment(3))

    assert kinds(actions) == [LaunchReceiver]


def test_a_receiver_that_waits_for_a_stuck_volume_is_ended_when_it_is_not_ready_in_time() -> None:
    stuck = a_night(machines=(a_receiver_machine(),), volumes=(a_volume(attached_to="i-9"),))

    assert kinds(plan(a_launched_run(), stuck, a_moment(2) + READY_WITHIN)) == [TerminateReceiver]


def test_a_receiver_that_is_not_ready_in_time_is_ended() -> None:
    deaf = a_serving_night(ready=frozenset())

    actions = plan(a_launched_run(), deaf, a_moment(2) + READY_WITHIN)

    assert kinds(actions) == [TerminateReceiver]


@pytest.mark.parametrize(
    ("made_from", "is_distrusted", "patience"),
    [
        ("snap-1", True, LOOKED_THROUGH_WITHIN),
        ("snap-1", False, READY_WITHIN),
        (None, True, READY_WITHIN),
    ],
)
def test_a_receiver_has_the_time_to_look_through_what_is_made_from_a_distrusted_snapshot(
    made_from: str | None, is_distrusted: bool, patience: timedelta
) -> None:
    source = {tags.MADE_FROM: made_from} if made_from else {}
    volume = replace(a_volume(attached_to="i-1"), tags={tags.MADE_FOR: str(a_run_id()), **source})
    deaf = a_serving_night(ready=frozenset(), volumes=(volume,), is_distrusted=is_distrusted)

    before, then = (plan(a_launched_run(), deaf, a_moment(2) + after) for after in (patience - A_MINUTE, patience))

    assert TerminateReceiver not in kinds(before)
    assert kinds(then) == [TerminateReceiver]


def test_no_receiver_outlives_deadline_and_grace() -> None:
    actions = plan(a_launched_run(), a_serving_night(), DEADLINE + GRACE)

    assert kinds(actions) == [TerminateReceiver]


def test_a_receiver_may_use_its_grace() -> None:
    actions = plan(a_launched_run(), a_serving_night(), DEADLINE + GRACE - A_MINUTE)

    assert kinds(actions) == [Wait]


NO_REPLACEMENT: dict[str, tuple[Run, NightWorld]] = {
    "every host has reported": (a_launched_run(), a_spent_night(released=frozenset(), clean=frozenset())),
    "nobody counts the report of the host that is missing": (
        a_launched_run(),
        a_spent_night(results=(a_result("us0"),), rejected=frozenset({"eu0a"})),
    ),
    "it was the last one": (
        a_launched_run(attempt=MOST_MACHINES),
        a_spent_night(
            machines=(a_receiver_machine(MOST_MACHINES, "terminated"),),
            ready=frozenset(range(1, MOST_MACHINES + 1)),
            released=frozenset(),
            results=(),
        ),
    ),
    "each of them was stopped": (
        a_launched_run(attempt=MOST_MACHINES),
        a_spent_night(
            machines=(),
            ready=frozenset(range(1, MOST_MACHINES + 1)),
            released=frozenset(range(1, MOST_MACHINES + 1)),
            results=(),
        ),
    ),
}


@pytest.mark.parametrize("case", NO_REPLACEMENT)
def test_a_receiver_is_not_replaced_when(case: str) -> None:
    run, night = NO_REPLACEMENT[case]

    assert kinds(plan(run, night, a_moment(3))) == [IntendSnapshot, TakeSnapshot]


def test_a_host_is_worth_another_receiver_though_anothers_report_is_rejected() -> None:
    night = a_spent_night(results=(), rejected=frozenset({"eu0a"}))

    assert kinds(plan(a_launched_run(), night, a_moment(3))) == [LaunchReceiver]


@pytest.mark.parametrize("released", [frozenset(), frozenset({1})], ids=["lost", "stopped"])
def test_a_receiver_is_not_replaced_when_no_time_is_left(released: frozenset[int]) -> None:
    lost = a_spent_night(released=released, results=())

    assert kinds(plan(a_launched_run(), lost, DEADLINE - LEAST_TIME_LEFT + A_MINUTE)) == [IntendSnapshot, TakeSnapshot]


def test_a_clean_volume_is_snapshotted_with_its_complete_hosts() -> None:
    assert plan(a_launched_run(), a_spent_night(), a_moment(3)) == (IntendSnapshot(), TAKE_BOTH)


def test_a_volume_that_was_not_released_is_labelled_crash_consistent() -> None:
    (_, take) = plan(a_launched_run(), a_spent_night(released=frozenset(), clean=frozenset()), a_moment(3))

    assert take == replace(TAKE_BOTH, consistency=tags.Consistency.CRASH)


def test_a_volume_is_clean_though_another_machine_was_asked_for_that_never_came() -> None:
    night = a_spent_night(results=(a_result("us0"),))

    (_, take) = plan(a_launched_run(attempt=2), night, DEADLINE)

    assert take == replace(TAKE_BOTH, complete=("us0a",))


@pytest.mark.parametrize(
    "second",
    [{"machines": (a_receiver_machine(2, "terminated"),)}, {"ready": frozenset({1, 2})}, {"refused": {2: "why"}}],
    ids=["it is shown", "it was ready", "it let nobody in"],
)
def test_a_volume_that_a_second_machine_may_have_had_and_did_not_release_is_crash_consistent(
    second: dict[str, object],
) -> None:
    (_, take) = plan(a_launched_run(attempt=2), a_spent_night(**second), DEADLINE)

    assert take == replace(TAKE_BOTH, consistency=tags.Consistency.CRASH)


@pytest.mark.fault("H15")
@pytest.mark.parametrize("status", [HostStatus.PARTIAL, HostStatus.FAILED, HostStatus.SUSPECT])
def test_a_mixed_tree_is_not_tagged_complete(status: HostStatus) -> None:
    night = a_spent_night(results=(a_result("us0"), a_result("eu0", status=status)))

    (_, take) = plan(a_launched_run(), night, a_moment(3))

    assert take == replace(TAKE_BOTH, complete=("us0a",))


def test_a_run_that_was_rebuilt_learns_its_attempts_from_what_is_there() -> None:
    machines = (a_receiver_machine(1, "terminated"), a_receiver_machine(2, "terminated"))
    night = a_spent_night(machines=machines, released=frozenset({2}), clean=frozenset({2}))

    assert plan(a_run(), night, a_moment(3)) == (IntendSnapshot(), TAKE_BOTH)


def test_a_volume_that_is_still_attached_is_waited_for() -> None:
    night = a_spent_night(volumes=(a_volume(attached_to="i-1"),))

    assert kinds(plan(a_launched_run(), night, a_moment(3))) == [Wait]


def test_a_snapshot_that_was_asked_for_and_does_not_show_is_waited_for_and_only_then_asked_for_again() -> None:
    run = a_launched_run(snapshot_intended=a_moment(3))

    assert kinds(plan(run, a_spent_night(), a_moment(3) + SNAPSHOT_SETTLES - A_MINUTE)) == [Wait]
    assert kinds(plan(run, a_spent_night(), a_moment(3) + SNAPSHOT_SETTLES)) == [IntendSnapshot, TakeSnapshot]


def test_a_snapshot_that_shows_is_adopted_and_no_second_is_taken() -> None:
    run = a_launched_run(snapshot_intended=a_moment(3))
    older, newer = a_snapshot("snap-9"), replace(a_snapshot("snap-1"), started=a_moment(4))

    assert plan(run, a_spent_night(snapshots=(newer, older)), a_moment(5)) == (AdoptSnapshot("snap-9"),)


def test_a_sound_snapshot_is_adopted_before_a_failed_one() -> None:
    night = a_spent_night(snapshots=(a_snapshot("snap-1", state="error"), a_snapshot("snap-2", state="pending")))

    assert plan(a_launched_run(), night, a_moment(3)) == (AdoptSnapshot("snap-2"),)


def test_a_pending_snapshot_is_waited_for() -> None:
    night = a_spent_night(snapshots=(a_snapshot(state="pending"),))

    assert kinds(plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(3))) == [Wait]


def test_a_completed_snapshot_gives_every_complete_host_a_restore_point() -> None:
    night = a_spent_night(snapshots=(a_snapshot(),))

    actions = plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))

    assert actions == (RecordPoints((a_point("us0a"), a_point("eu0a"))), CloseRun(RunState.DONE, None))


@pytest.mark.parametrize("status", [HostStatus.PARTIAL, HostStatus.COMPLETE])
def test_only_what_the_snapshot_says_is_complete_counts(status: HostStatus) -> None:
    results = (a_result("us0"), a_result("eu0", status=status))
    night = a_spent_night(results=results, snapshots=(a_snapshot(complete=("us0a",)),))

    actions = plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))

    degraded = CloseRun(RunState.DEGRADED, f"not complete: eu0 {status}")
    assert actions == (RecordPoints((a_point("us0a"),)), degraded)


def test_a_night_without_a_complete_host_has_failed() -> None:
    night = a_spent_night(results=(a_result("us0", status=HostStatus.FAILED),), snapshots=(a_snapshot(complete=()),))

    actions = plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))

    assert actions == (RecordPoints(()), CloseRun(RunState.FAILED, "not complete: us0 failed, eu0 missing"))


FAILURES: dict[str, tuple[Run, NightWorld]] = {
    "nothing could be launched": (a_run(), a_night()),
    "every launch found no room": (a_launched_run(), a_night()),
    "the volume is gone": (a_launched_run(), a_spent_night(volumes=())),
    "no receiver was ever ready": (
        a_launched_run(),
        a_night(machines=(a_receiver_machine(1, "terminated"), a_receiver_machine(2, "terminated"))),
    ),
    "the volume is gone after hosts have pushed to it": (
        a_launched_run(),
        a_night(volumes=(), ready=frozenset({1}), machines=(a_receiver_machine(1, "terminated"),)),
    ),
    "the snapshot failed twice": (
        a_launched_run(snapshot_id="snap-2"),
        a_spent_night(snapshots=(a_snapshot("snap-1", state="error"), a_snapshot("snap-2", state="error"))),
    ),
    "the snapshot failed and the volume is gone": (
        a_launched_run(snapshot_id="snap-1"),
        a_spent_night(volumes=(), snapshots=(a_snapshot(state="error"),)),
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_night_fails_when(case: str) -> None:
    run, night = FAILURES[case]

    (closing,) = plan(run, night, DEADLINE)

    assert isinstance(closing, CloseRun)
    assert closing.state is RunState.FAILED


def test_every_run_ends_and_leaves_no_machine() -> None:
    stuck = a_serving_night(volumes=(a_volume(state="error"),))

    actions = plan(a_launched_run(), stuck, DEADLINE + GIVE_UP)

    assert kinds(actions) == [TerminateReceiver, CloseRun]


def test_a_run_that_is_given_up_says_what_stands_in_its_way() -> None:
    stuck = a_spent_night(volumes=(a_volume(attached_to="i-1"),))

    (closing,) = plan(a_launched_run(), stuck, DEADLINE + GIVE_UP)

    assert "volume vol-1 is in-use, attached to i-1" in str(closing)


@pytest.mark.parametrize("state", [state for state in RunState if state.is_final])
def test_a_closed_run_is_left_alone(state: RunState) -> None:
    assert plan(a_run(state=state), a_serving_night(), DEADLINE + GIVE_UP) == ()


def test_a_receiver_that_could_not_let_go_leaves_a_crash_consistent_snapshot() -> None:
    (_, take) = plan(a_launched_run(), a_spent_night(clean=frozenset()), a_moment(3))

    assert isinstance(take, TakeSnapshot)
    assert take.consistency is tags.Consistency.CRASH


def test_at_the_very_end_a_snapshot_that_is_there_is_adopted_and_not_given_up() -> None:
    night = a_spent_night(snapshots=(a_snapshot("snap-1", state="completed"),))

    assert plan(a_launched_run(), night, DEADLINE + GIVE_UP) == (AdoptSnapshot("snap-1"),)


def test_at_the_very_end_a_quiet_volume_gets_its_one_snapshot() -> None:
    asked = a_launched_run(snapshot_intended=DEADLINE + GIVE_UP)

    assert plan(a_launched_run(), a_spent_night(), DEADLINE + GIVE_UP) == (IntendSnapshot(), TAKE_BOTH)
    assert kinds(plan(asked, a_spent_night(), DEADLINE + GIVE_UP + A_MINUTE)) == [CloseRun]
