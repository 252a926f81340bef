"""What is wrong is said once for each subject, with its run or host, since when, and why."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.advice import ADVICE, Kind
from chalicelib.core.alarms import Facts, Night, Trouble, find_troubles, subjects
from chalicelib.core.model import (
    Copying,
    HostStatus,
    Pruning,
    Recovery,
    RecoveryKind,
    RecoveryState,
    RunState,
    Uncopied,
)
from chalicelib.core.policy import DrillPolicy
from chalicelib.core.verdicts import why_down, why_unheard
from tests.builders import (
    a_moment,
    a_night,
    a_point,
    a_policy,
    a_recovery,
    a_recovery_id,
    a_run_id,
    some_facts,
)

COMPLETE, MISSING, PARTIAL, SUSPECT = HostStatus.COMPLETE, HostStatus.MISSING, HostStatus.PARTIAL, HostStatus.SUSPECT
MORNING = a_moment(7)


def us0(*statuses: HostStatus, state: RunState = RunState.DEGRADED) -> list[Night]:
    """Nights of us0 up to that of the 23rd, the oldest first, while eu0 is well."""
    first = 24 - len(statuses)
    return [a_night(first + back, state, us0=status, eu0=COMPLETE) for back, status in enumerate(statuses)]


def kinds(facts: Facts) -> list[Kind]:
    return [trouble.kind for trouble in find_troubles(facts, MORNING)]


def the_trouble(facts: Facts) -> Trouble:
    (trouble,) = find_troubles(facts, MORNING)
    return trouble


def test_good_nights_are_no_trouble() -> None:
    assert find_troubles(some_facts(a_night(22), a_night(23)), MORNING) == ()


# -- hosts' own disks -------------------------------------------------------------------------------------------------

DEGRADED = "array md0: degraded: 1 of 2 members are there"


def warning(night: Night, host: str, *warnings: str) -> Night:
    """The night, with what a host warned of in its report."""
    results = (replace(each, warnings=warnings) if each.name == host else each for each in night.results)
    return replace(night, results=tuple(results))


def test_a_host_that_warns_of_its_disks_is_told_though_its_night_was_complete() -> None:
    trouble = the_trouble(some_facts(a_night(22), warning(a_night(23), "us0", DEGRADED, "disk /dev/sda: \x1b[2J")))

    assert (trouble.kind, trouble.about, trouble.name) == (Kind.DISK_WARNING, "disks/us0a", "the disks of host us0")
    assert trouble.what == f"host us0 warns of its disks: {DEGRADED}"
    assert trouble.details == (DEGRADED, "disk /dev/sda: ?[2J")
    assert trouble.since == a_night(23).run.opened


def test_a_volume_that_was_set_aside_is_told_until_the_next_night() -> None:
    night = a_night(22)
    damaged = replace(night, run=replace(night.run, aside=("vol-1", "vol-2")))

    trouble = the_trouble(some_facts(damaged))

    assert (trouble.kind, trouble.about, trouble.since) == (Kind.VOLUME_DAMAGED, "volume/main", night.run.opened)
    assert trouble.what == "the volume of receiver main was damaged: set aside is vol-1, vol-2"
    assert find_troubles(some_facts(damaged, a_night(23)), MORNING) == ()


def test_a_warning_stands_since_the_first_night_of_it_and_through_nights_that_were_missed() -> None:
    warned = [warning(night, "us0", DEGRADED) for night in us0(PARTIAL, COMPLETE)]
    missed = [replace(night, results=night.results[1:]) for night in us0(COMPLETE)]

    trouble = the_trouble(some_facts(*warned, *missed))

    assert (trouble.kind, trouble.since) == (Kind.DISK_WARNING, warned[0].run.opened)


def test_disks_are_well_again_with_the_first_report_that_does_not_warn() -> None:
    assert kinds(some_facts(warning(a_night(22), "us0", DEGRADED), a_night(23))) == []


# -- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [MISSING, PARTIAL, HostStatus.FAILED])
def test_a_host_is_told_after_as_many_nights_in_a_row_as_its_policy_says(status: HostStatus) -> None:
    once, twice = some_facts(*us0(COMPLETE, status)), some_facts(*us0(status, status))

    assert kinds(once) == []
    assert kinds(twice) == [Kind.MISSED]


def test_a_host_that_missed_is_named_with_its_runs_its_newest_point_and_since_when() -> None:
    nights = us0(COMPLETE, MISSING, PARTIAL)

    trouble = the_trouble(some_facts(*nights, points=(a_point("us0a", run_id=a_run_id(21)),)))

    assert (trouble.about, trouble.name) == ("host/us0a", "host us0")
    assert trouble.what == "host us0 was not complete on 2 nights in a row"
    assert trouble.since == a_night(22).run.opened
    assert trouble.details == (
        "main/2026-11-23/1: partial",
        "main/2026-11-22/1: missing",
        "newest restore point: 2026-11-21 03:00 UTC",
    )


def test_a_good_night_in_between_starts_the_count_again() -> None:
    assert kinds(some_facts(*us0(MISSING, MISSING, COMPLETE, MISSING))) == []


def test_another_attempt_of_the_same_night_saves_it() -> None:
    missed = us0(MISSING, MISSING)

    saved = some_facts(*missed, a_night(23, attempt=2, us0=COMPLETE, eu0=COMPLETE))

    assert kinds(saved) == []


def test_two_attempts_of_one_night_are_one_night() -> None:
    attempts = [a_night(23, RunState.DEGRADED, attempt, us0=MISSING, eu0=COMPLETE) for attempt in (1, 2)]

    assert kinds(some_facts(a_night(22), *attempts)) == []


def test_a_night_that_did_not_expect_the_host_says_nothing_of_it() -> None:
    before = [a_night(day, eu0=COMPLETE) for day in (20, 21, 22)]

    assert kinds(some_facts(*before, *us0(MISSING))) == []


def test_a_host_that_could_not_reach_a_failed_run_is_not_to_blame() -> None:
    failed = [a_night(day, RunState.FAILED, us0=MISSING, eu0=MISSING) for day in (21, 22)]

    assert kinds(some_facts(*failed, a_night(23))) == []


def test_a_host_that_failed_by_itself_in_a_failed_run_is() -> None:
    failed = [a_night(day, RunState.FAILED, us0=PARTIAL, eu0=MISSING) for day in (22, 23)]

    assert kinds(some_facts(*failed)) == [Kind.MISSED, Kind.RUN_FAILED]


def test_a_suspect_host_is_told_after_the_first_night() -> None:
    trouble = the_trouble(some_facts(*us0(COMPLETE, SUSPECT)))

    assert (trouble.kind, trouble.what) == (Kind.SUSPECT, "host us0 is suspect since run main/2026-11-23/1")


def test_a_suspect_host_stays_suspect_until_a_complete_night() -> None:
    assert kinds(some_facts(*us0(SUSPECT, MISSING))) == [Kind.SUSPECT]
    assert kinds(some_facts(*us0(SUSPECT, MISSING, COMPLETE))) == []


def test_a_host_whose_newest_point_is_old_is_told_whatever_the_nights_say() -> None:
    facts = some_facts(a_night(23), points=(a_point("us0a"), a_point("eu0a", run_id=a_run_id(20))))
    three_days = a_point("eu0a", run_id=a_run_id(20)).at + timedelta(days=3)

    at_the_limit = find_troubles(facts, three_days)
    (trouble,) = find_troubles(facts, three_days + timedelta(seconds=1))

    assert at_the_limit == ()
    assert (trouble.kind, trouble.about) == (Kind.STALE, "host/eu0a")
    assert trouble.what == "host eu0: its newest restore point is 3 days old"
    assert trouble.details == ("it is in snapshot snap-1",)


def test_what_a_machine_said_cannot_move_a_readers_cursor() -> None:
    nasty = "rsync: \x1b[2J\u202egone\r\n"
    nights = [
        replace(night, results=(replace(night.results[0], problems=(nasty,)),)) for night in us0(PARTIAL, PARTIAL)
    ]

    trouble = the_trouble(some_facts(*nights, policy=a_policy(hosts=("us0",))))

    assert trouble.details[0] == "main/2026-11-23/1: partial, rsync: ?[2J?gone??"


# -- receivers, retention, drills -------------------------------------------------------------------------------------


def test_a_failed_run_is_told_with_its_reason_until_a_later_one_did_better() -> None:
    failed = a_night(22, RunState.FAILED, us0=MISSING, eu0=MISSING)
    failed = replace(failed, run=replace(failed.run, why="no receiver could be launched before the deadline"))

    trouble = the_trouble(some_facts(a_night(21), failed))

    assert (trouble.kind, trouble.about, trouble.since) == (Kind.RUN_FAILED, "receiver/main", failed.run.closed)
    assert trouble.what == "run main/2026-11-22/1 failed: no receiver could be launched before the deadline"
    assert kinds(some_facts(a_night(21), failed, a_night(23))) == []


def test_every_failed_run_is_an_occurrence_of_its_own() -> None:
    failures = [a_night(day, RunState.FAILED, us0=MISSING, eu0=MISSING) for day in (22, 23)]

    first, second = the_trouble(some_facts(failures[0])), the_trouble(some_facts(*failures))

    assert first.about == second.about
    assert first.occurrence != second.occurrence


def test_a_refused_pruning_is_told_with_its_reason() -> None:
    points = (a_point("us0a"),)

    trouble = the_trouble(some_facts(a_night(), points=points, pruning=Pruning(MORNING, "too many would be deleted")))

    assert (trouble.about, trouble.since) == ("pruning", MORNING)
    assert trouble.what == "retention refused to prune: too many would be deleted"
    assert kinds(some_facts(a_night(), points=points, pruning=Pruning(MORNING))) == []


def test_before_the_first_restore_point_a_pruning_may_well_refuse() -> None:
    assert kinds(some_facts(pruning=Pruning(MORNING, "no backup snapshot was found at all"))) == []


def test_snapshots_that_somebody_has_deleted_are_named() -> None:
    gone = tuple(f"snapshot snap-{number} with points of us0a" for number in range(30))

    trouble = the_trouble(
        some_facts(a_night(), points=(a_point("us0a"),), pruning=Pruning(MORNING, None, gone, MORNING))
    )

    assert (trouble.about, trouble.kind) == ("snapshots", Kind.SNAPSHOT_GONE)
    assert trouble.what == "somebody has deleted snapshots with restore points: 30"
    assert trouble.details == gone[:20]


def a_drill(verdict: str, day: int = 23, state: RecoveryState = RecoveryState.DONE) -> Recovery:
    drill = a_recovery(recovery_id=a_recovery_id(day=day))
    return replace(drill, verdict=verdict, state=state, closed=a_moment(10, day=day), findings=("it did not boot",))


@pytest.mark.parametrize(
    ("verdict", "probe", "is_told"),
    [
        ("proven", "http://127.0.0.1/", False),
        ("as recorded", "http://127.0.0.1/", False),
        ("content only", None, False),
        ("content only", "http://127.0.0.1/", True),
        ("different", None, True),
        ("unproven", None, True),
        ("failed", "http://127.0.0.1/", True),
    ],
)
def test_a_drill_that_did_not_prove_what_it_could_is_told(verdict: str, probe: str | None, is_told: bool) -> None:
    drill = replace(a_drill(verdict), probe=probe)

    found = find_troubles(some_facts(a_night(), recoveries=(drill,)), MORNING)

    assert [trouble.kind for trouble in found] == [Kind.DRILL_FAILED] * is_told


def test_a_failed_drill_is_named_with_what_it_found() -> None:
    trouble = the_trouble(some_facts(a_night(), recoveries=(a_drill("different"),)))

    assert (trouble.about, trouble.name) == ("drills/us0a", "drills of host us0")
    assert trouble.what == "drill us0a/2026-11-23/1 of host us0 ended as different"
    assert trouble.details == ("it did not boot",)


def test_a_drill_of_a_stale_point_is_told_however_well_it_ended() -> None:
    drill = replace(a_drill("proven"), findings=("stale: its newest restore point is of 2026-11-19 02:45 UTC",))

    trouble = the_trouble(some_facts(a_night(), recoveries=(drill,)))

    assert trouble.kind is Kind.DRILL_FAILED
    assert trouble.what == "drill us0a/2026-11-23/1 of host us0 ended as proven, of a stale point"
    assert trouble.details == drill.findings


@pytest.mark.parametrize(
    ("drills", "first", "what"),
    [
        ((a_drill("proven", day=8),), 1, "the last drill that proved the backup of host us0 was 15 days ago"),
        ((a_drill("proven", day=10),), 1, None),
        ((), 8, "no drill has proved the backup of host us0, which has restore points since 2026-11-08 03:00 UTC"),
        ((), 10, None),
    ],
)
def test_a_proof_that_is_twice_as_old_as_drills_are_wanted_is_told_where_they_are(
    drills: tuple[Recovery, ...], first: int, what: str | None
) -> None:
    points = tuple(a_point("us0a", run_id=a_run_id(day)) for day in (first, 22))
    weekly = replace(a_policy(), drill=DrillPolicy(7))
    facts = some_facts(a_night(), recoveries=drills, points=points, policy=weekly)

    found = [(each.kind, each.what) for each in find_troubles(facts, a_moment(10, 1))]

    assert found == ([(Kind.PROOF_OLD, what)] if what else [])
    assert find_troubles(replace(facts, policy=a_policy()), a_moment(10, 1)) == ()


def test_only_the_latest_closed_drill_counts_and_no_restore_or_opening() -> None:
    proven_since = (a_drill("different", day=22), a_drill("proven", day=23))
    another_under_way = (a_drill("proven", day=22), replace(a_drill("", state=RecoveryState.OPEN), verdict=None))
    a_restore = (replace(a_drill("failed"), kind=RecoveryKind.RESTORE),)
    an_opening = (replace(a_drill("failed"), kind=RecoveryKind.OPENING),)
    others = (proven_since, another_under_way, a_restore, an_opening)

    found = [kinds(some_facts(a_night(), recoveries=each)) for each in others]

    assert found == [[], [], [], []]


@pytest.mark.parametrize(
    ("first", "later", "points", "is_told"),
    [
        pytest.param(22, 21, (21, 22), True, id="a drill of an older point ends nothing"),
        pytest.param(21, 22, (21, 22), False, id="one of a newer point does"),
        pytest.param(22, 22, (21, 22), False, id="and so does another one of it"),
        pytest.param(22, 21, (21,), False, id="of what is newest once the point itself is gone"),
        pytest.param(22, 21, (21, 23), False, id="whatever comes after it"),
        pytest.param(22, 21, (), False, id="or no point is left"),
        pytest.param(21, 22, (21,), False, id="one of a point that has gone since"),
    ],
)
def test_a_failed_drill_is_told_until_one_of_the_same_or_a_newer_point_has_proven_it(
    first: int, later: int, points: tuple[int, ...], is_told: bool
) -> None:
    different = replace(a_drill("different", day=23), point=a_point(run_id=a_run_id(first)))
    proven = replace(a_drill("proven", day=24), point=a_point(run_id=a_run_id(later)))
    there = tuple(a_point(run_id=a_run_id(day)) for day in points)

    facts = some_facts(a_night(), recoveries=(different, proven), points=there)

    assert (kinds(facts) == [Kind.DRILL_FAILED]) == is_told


def a_standing_restore(verdict: str | None, attempt: int = 1, address: str | None = "203.0.113.9") -> Recovery:
    restore = a_recovery(RecoveryKind.RESTORE, a_recovery_id(attempt=attempt))
    lasts = {"deadline": restore.opened + timedelta(days=7), "findings": ("etc: missing",)}
    return replace(restore, verdict=verdict, address=address, **lasts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdict", "probe", "is_told"),
    [
        ("different", None, True),
        ("unproven", None, True),
        ("content only", "http://127.0.0.1/", True),
        ("content only", None, False),
        ("as recorded", "http://127.0.0.1/", False),
        ("proven", "http://127.0.0.1/", False),
    ],
)
def test_a_server_that_stands_restored_and_of_which_not_all_was_proven_is_told(
    verdict: str, probe: str | None, is_told: bool
) -> None:
    restore = replace(a_standing_restore(verdict), probe=probe)

    found = find_troubles(some_facts(a_night(), recoveries=(restore,)), a_moment(10))

    assert [trouble.kind for trouble in found] == [Kind.RESTORE_DOUBTFUL] * is_told


@pytest.mark.parametrize("hours", [1, 25, 144])
@pytest.mark.parametrize("verdict", ["content only", "as recorded", "proven"])
@pytest.mark.parametrize("probe", [None, "http://127.0.0.1/"])
def test_one_that_nobody_has_seen_run_is_told_whatever_is_proven_of_it(
    probe: str | None, verdict: str, hours: int
) -> None:
    restore = replace(a_standing_restore(verdict, address=None), probe=probe)

    found = find_troubles(some_facts(recoveries=(restore,)), restore.opened + timedelta(hours=hours))

    (trouble,) = [each for each in found if each.about == "restores/us0a"]
    assert trouble.kind is Kind.RESTORE_DOUBTFUL
    assert trouble.what == f"restore us0a/2026-11-23/1 of host us0 is {verdict}, and nobody has seen it run"


def test_it_is_named_with_what_was_found_also_when_its_host_has_left_the_policy() -> None:
    several = (a_standing_restore("proven"), a_standing_restore("different", 2), a_standing_restore("proven", 3))
    facts = some_facts(a_night(), recoveries=several, policy=a_policy(hosts=("eu0",)))

    (trouble,) = find_troubles(facts, a_moment(10))

    assert (trouble.about, trouble.name) == ("restores/us0a", "restores of host us0")
    assert trouble.what == "restore us0a/2026-11-23/2 of host us0 is different"
    assert trouble.details == ("etc: missing",)


def test_a_restore_without_a_verdict_is_told_after_a_day_and_none_that_is_closed() -> None:
    restore = a_standing_restore(None)
    facts = some_facts(a_night(), recoveries=(restore,))
    over = some_facts(a_night(), recoveries=(replace(a_standing_restore("different"), state=RecoveryState.DONE),))

    assert find_troubles(facts, restore.opened + timedelta(hours=23)) == ()
    (trouble,) = find_troubles(facts, restore.opened + timedelta(hours=24))
    assert trouble.what == "restore us0a/2026-11-23/1 of host us0 has come to no verdict in a day"
    assert find_troubles(over, a_moment(10)) == ()


def test_a_restore_that_may_be_back_and_cannot_say_so_is_told_at_once() -> None:
    restore = replace(a_standing_restore(None), findings=(why_unheard("its word cannot be read", "10.0.0.1"),))

    (trouble,) = find_troubles(some_facts(a_night(), recoveries=(restore,)), restore.opened)

    assert trouble.kind is Kind.RESTORE_DOUBTFUL
    assert trouble.what.endswith("of host us0 may be back, and what its machine said of it cannot be read")
    assert trouble.details == restore.findings


def test_a_restore_that_has_not_come_up_is_told_at_once_with_what_its_image_said() -> None:
    restore = replace(a_standing_restore(None, address=None), findings=(why_down("it ended: no init"),))

    (trouble,) = find_troubles(some_facts(a_night(), recoveries=(restore,)), restore.opened)

    assert trouble.kind is Kind.RESTORE_DOUBTFUL
    assert trouble.what.endswith("of host us0 has not come up, and is not compared yet")
    assert trouble.details == ("did not boot: it ended: no init",)


def test_a_restore_that_failed_is_told_with_the_reason_also_once_it_is_taken_down() -> None:
    under_way = replace(a_standing_restore("failed"), findings=("snapshot snap-1 is gone",))
    taken_down = replace(under_way, state=RecoveryState.FAILED)

    first, later = (the_trouble(some_facts(a_night(), recoveries=(each,))) for each in (under_way, taken_down))

    assert first == later
    assert (first.kind, first.about) == (Kind.RESTORE_FAILED, "restores/us0a")
    assert first.what == "restore us0a/2026-11-23/1 of host us0 has failed"
    assert first.details == ("snapshot snap-1 is gone",)


@pytest.mark.parametrize(
    ("since", "is_told"),
    [
        (a_standing_restore(None, 2, address=None), True),
        (a_standing_restore(None, 2), False),
        (a_standing_restore("proven", 2), False),
        (replace(a_standing_restore("content only", 2, address=None), state=RecoveryState.DONE), True),
        (replace(a_standing_restore("proven", 2), kind=RecoveryKind.DRILL), False),
        (replace(a_standing_restore("opened", 2), kind=RecoveryKind.OPENING, address="203.0.113.9"), True),
    ],
)
def test_a_failed_restore_is_told_until_its_host_has_come_back(since: Recovery, is_told: bool) -> None:
    facts = some_facts(a_night(), recoveries=(since, a_standing_restore("failed")))

    found = find_troubles(facts, a_moment(10))

    assert [trouble.kind for trouble in found] == [Kind.RESTORE_FAILED] * is_told


def test_a_restore_that_somebody_ended_is_no_failure_to_tell_of() -> None:
    closed = replace(a_standing_restore("failed"), deadline=a_moment(10))

    assert kinds(some_facts(a_night(), recoveries=(closed,))) == []


def test_a_drill_of_a_host_that_left_the_policy_is_nobodys_trouble() -> None:
    facts = some_facts(a_night(), recoveries=(a_drill("failed"),), policy=a_policy(hosts=("eu0",)))

    assert kinds(facts) == []


# -- copies -----------------------------------------------------------------------------------------------------------


def copying(*uncopied: Uncopied, seen: datetime = MORNING, blind: str | None = None) -> tuple[Copying, ...]:
    return (Copying("eu-central-1", seen, uncopied, blind),)


def an_uncopied(day: int = 23, since: datetime = MORNING, failures: int = 0, why: str | None = None) -> Uncopied:
    return Uncopied(f"snap-{day}", str(a_run_id(day)), since, failures, why)


def test_a_copy_that_failed_twice_is_told_with_its_run_and_its_reason() -> None:
    twice = an_uncopied(failures=2, why="the key is \x1b[2Jdisabled")

    trouble = the_trouble(some_facts(a_night(), copying=copying(twice)))

    assert (trouble.about, trouble.kind) == ("copies/eu-central-1", Kind.COPY_FAILED)
    assert trouble.what == "1 snapshot lacks its copy in eu-central-1"
    assert trouble.details == (
        "snapshot snap-23 of run main/2026-11-23/1: wanted since 2026-11-23 07:00 UTC, "
        "failed 2 times: the key is ?[2Jdisabled",
    )


def test_copies_that_wait_for_more_than_a_day_are_one_message_since_the_first_of_them() -> None:
    overdue = [an_uncopied(day, MORNING - timedelta(days=24 - day, hours=1)) for day in range(15, 23)]

    trouble = the_trouble(some_facts(a_night(), copying=copying(*overdue, an_uncopied(23))))

    assert trouble.what == "8 snapshots lack their copies in eu-central-1"
    assert trouble.since == overdue[0].since
    assert trouble.details[-1] == "and 3 more"


def test_copies_that_are_on_their_way_or_failed_once_are_no_trouble() -> None:
    fresh = copying(an_uncopied(22), an_uncopied(23, failures=1, why="no key"))

    assert kinds(some_facts(a_night(), copying=fresh)) == []


def test_a_place_that_nobody_could_look_at_for_a_day_is_told() -> None:
    two_days_ago = MORNING - timedelta(days=2)

    trouble = the_trouble(some_facts(a_night(), copying=copying(seen=two_days_ago, blind="no answer from AWS")))

    assert trouble.what == "nobody could look at the copies in eu-central-1 since 2026-11-21 07:00 UTC"
    assert trouble.details == ("last seen 2026-11-21 07:00 UTC, since then: no answer from AWS",)


# -- all of them ------------------------------------------------------------------------------------------------------


NIGHTS = st.lists(
    st.tuples(st.sampled_from(HostStatus), st.sampled_from(HostStatus), st.sampled_from(RunState)), max_size=6
)


@given(NIGHTS, st.sampled_from(["proven", "failed"]), st.none() | st.just("no"), st.integers(0, 20))
def test_a_subject_has_one_trouble_at_most_and_is_known_to_the_policy(
    nights: Sequence[tuple[HostStatus, HostStatus, RunState]], verdict: str, refused: str | None, days: int
) -> None:
    facts = some_facts(
        *(a_night(18 + day, state, us0=us0, eu0=eu0) for day, (us0, eu0, state) in enumerate(nights)),
        points=(a_point("us0a", run_id=a_run_id(18)),),
        recoveries=(a_drill(verdict),),
        pruning=Pruning(MORNING, refused),
        copying=copying(an_uncopied(failures=2, why="no key"), an_uncopied(18, a_moment(3, day=18))),
    )

    abouts = [trouble.about for trouble in find_troubles(facts, MORNING + timedelta(days=days))]

    assert abouts == sorted(set(abouts))
    assert set(abouts) <= subjects(facts.policy, ["eu-central-1"])


def test_every_kind_of_trouble_comes_with_what_to_do() -> None:
    assert set(ADVICE) == set(Kind)
