"""Which snapshots are copied to the other region, and when: every law of the queue, on values."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as some

from chalicelib.core import tags
from chalicelib.core.backups import points_in
from chalicelib.core.copying import (
    COPY_SETTLES,
    MOST_AT_ONCE,
    RETRY_AFTER,
    CopyFailure,
    CopyPlan,
    as_taken,
    copy_tags,
    plan_copies,
    uncopied,
)
from chalicelib.core.model import CopyIntent, Snapshot
from chalicelib.core.pruning import Stock, plan_prune
from chalicelib.core.retention import Rules
from tests.builders import a_moment, a_run_id, a_snapshot

HERE, THERE = "us-east-1", "eu-central-1"
NOW = a_moment(12)
TWO_DAYS = Rules(daily=2)


def a_backup(day: int = 23, receiver: str = "main", complete: tuple[str, ...] | None = None) -> Snapshot:
    """Of the one host that this receiver has, unless the test says which hosts were complete."""
    hosts = (f"{receiver:0<4.4}",) if complete is None else complete
    return a_snapshot(f"snap-{receiver}-{day}", a_run_id(day, receiver=receiver), hosts)


def a_copy(of: Snapshot, state: str = "completed", made: datetime = NOW, number: int = 1) -> Snapshot:
    """Made long after its source, and of no volume that there is."""
    return Snapshot(f"copy-{number}-of-{of.id}", state, made, "vol-ffffffff", 80, 40, copy_tags(of, HERE))


def an_intent(of: Snapshot, asked: datetime, attempt: int = 1, why: str | None = None) -> CopyIntent:
    return CopyIntent(of.id, THERE, attempt, asked, why, version=attempt)


def plan(
    sources: Sequence[Snapshot],
    copies: Sequence[Snapshot] = (),
    intents: Sequence[CopyIntent] = (),
    rules: Rules = TWO_DAYS,
) -> CopyPlan:
    return plan_copies(sources, copies, intents, rules, NOW)


def asked(planned: CopyPlan) -> list[tuple[str, int]]:
    return [(each.source.id, each.attempt) for each in planned.ask]


# -- what is copied ---------------------------------------------------------------------------------------------------


def test_only_what_the_copies_own_rules_keep_is_copied_the_newest_first() -> None:
    backups = [a_backup(day) for day in (20, 21, 22, 23)]

    assert [each.id for each in uncopied(backups, [], TWO_DAYS)] == ["snap-main-23", "snap-main-22"]


def test_what_is_copied_already_is_not_copied_again() -> None:
    backups = [a_backup(22), a_backup(23)]

    assert [each.id for each in uncopied(backups, [a_copy(backups[1])], TWO_DAYS)] == ["snap-main-22"]


def test_what_is_only_over_there_counts_too_so_that_the_oldest_stays_the_oldest() -> None:
    """Without it, the oldest backup that is left here would be copied night after night, and let go of over there."""
    gone_here, *backups = [a_backup(day) for day in (20, 21, 22, 23)]

    wanted = uncopied(backups, [a_copy(gone_here)], Rules(weekly=4))

    assert [each.id for each in wanted] == ["snap-main-23", "snap-main-22"]


def test_a_copy_on_its_way_is_none_yet() -> None:
    backup = a_backup()

    assert uncopied([backup], [a_copy(backup, "pending")], TWO_DAYS) == (backup,)


def test_what_is_not_complete_or_holds_no_one_is_not_copied() -> None:
    unfit = [replace(a_backup(21), state="pending"), replace(a_backup(22), state="error"), a_backup(23, complete=())]

    assert uncopied(unfit, [], TWO_DAYS) == ()


def test_what_was_found_damaged_is_not_copied_and_the_sound_one_before_it_is() -> None:
    sound, broken = a_backup(22), a_backup(23)
    broken = replace(broken, tags=broken.tags | {tags.DAMAGED: "main/2026-11-24/1"})

    assert uncopied([a_backup(21), sound, broken], [], Rules(last=1)) == (sound,)


def test_of_two_snapshots_of_one_run_the_adopted_one_is_copied() -> None:
    first = a_backup()
    second = replace(first, id="snap-extra", started=first.started + timedelta(minutes=1))

    assert uncopied([second, first], [], TWO_DAYS) == (first,)


def test_a_host_that_was_complete_in_a_runs_second_snapshot_alone_has_that_copied_too() -> None:
    first = a_backup(complete=("us0a",))
    second = replace(a_backup(complete=("eu0a", "us0a")), id="snap-extra", started=first.started + timedelta(minutes=1))

    assert uncopied([first, second], [], TWO_DAYS) == (second, first)
    assert uncopied([first, second], [a_copy(first)], TWO_DAYS) == (second,)
    assert uncopied([first, second], [a_copy(second)], TWO_DAYS) == ()


def test_for_a_forgotten_host_nothing_is_copied() -> None:
    theirs, of_both = a_backup(22, complete=("gone",)), a_backup(23, complete=("gone", "us0a"))

    assert uncopied([theirs, of_both], [], TWO_DAYS, forgotten={"gone"}) == (of_both,)


def test_damaged_tags_cost_only_their_own_snapshot() -> None:
    damaged = replace(a_backup(22), tags={**a_backup(22).tags, tags.RUN: "?"})

    assert uncopied([damaged, a_backup()], [], TWO_DAYS) == (a_backup(),)


def test_a_copy_says_all_that_its_source_says_and_where_it_comes_from() -> None:
    source = a_snapshot(extra={tags.MARKED: "2026-11-22", tags.HOLD: "evidence", "aws:backup": "x"})
    tagged = copy_tags(source, HERE)

    copied = as_taken(Snapshot("snap-9", "completed", NOW, "vol-ffffffff", 80, 100, tagged))

    assert [replace(each, snapshot_id="snap-1") for each in points_in(copied)] == list(points_in(source))
    assert (tagged[tags.ROLE], tagged[tags.SOURCE], tagged[tags.SOURCE_REGION]) == ("copy", "snap-1", HERE)
    assert {tags.MARKED, tags.HOLD, "aws:backup"}.isdisjoint(tagged)


def test_a_copy_whose_time_is_damaged_counts_from_when_it_was_made() -> None:
    damaged = replace(a_copy(a_backup()), tags={tags.TAKEN: "2026-11-23T03:00:00"})

    assert as_taken(damaged) == damaged


# -- when it is asked for ---------------------------------------------------------------------------------------------


def test_one_of_a_receiver_is_copied_at_a_time_so_that_the_next_builds_on_it() -> None:
    backups = [a_backup(day, receiver) for receiver in ("main", "other") for day in (22, 23)]

    planned = plan(backups)

    assert asked(planned) == [("snap-other-23", 1), ("snap-main-23", 1)]
    assert planned.waiting == (
        "snapshot snap-other-22: another of other is being copied",
        "snapshot snap-main-22: another of main is being copied",
    )


def test_no_more_are_under_way_at_once_than_ec2_takes() -> None:
    backups = [a_backup(23, f"r{number:02}") for number in range(MOST_AT_ONCE + 5)]
    under_way = [a_copy(each, "pending") for each in backups[:3]]
    unseen = [an_intent(each, NOW) for each in backups[3:5]]

    planned = plan(backups, under_way, unseen)

    assert len(planned.ask) == MOST_AT_ONCE - 5
    assert sum("the most at once" in why for why in planned.waiting) == 5


def test_what_was_asked_for_lately_is_waited_for_and_then_asked_for_again() -> None:
    backup = a_backup()

    fresh = plan([backup], intents=[an_intent(backup, NOW - COPY_SETTLES + timedelta(seconds=1))])
    lost = plan([backup], intents=[an_intent(backup, NOW - COPY_SETTLES)])

    assert (asked(fresh), asked(lost)) == ([], [("snap-main-23", 2)])


def test_a_copy_on_its_way_is_waited_for_however_long_it_takes() -> None:
    backup = a_backup()

    planned = plan([backup], [a_copy(backup, "pending")], [an_intent(backup, NOW - timedelta(days=1))])

    assert (asked(planned), planned.waiting) == (
        [],
        ("snapshot snap-main-23: its copy copy-1-of-snap-main-23 is at 40 %",),
    )


def test_a_failed_copy_is_told_and_asked_for_again_an_hour_later() -> None:
    backup = a_backup()
    broken = a_copy(backup, "error", made=NOW - timedelta(hours=3))

    early = plan([backup], [broken], [an_intent(backup, NOW - RETRY_AFTER + timedelta(seconds=1))])
    late = plan([backup], [broken], [an_intent(backup, NOW - RETRY_AFTER)])

    told = CopyFailure("snap-main-23", 1, "copy copy-1-of-snap-main-23 ended in an error")
    assert (asked(early), early.failed) == ([], (told,))
    assert (asked(late), late.failed) == ([("snap-main-23", 2)], (told,))


def test_a_refusal_is_told_and_asked_for_again_an_hour_later() -> None:
    backup = a_backup()

    planned = plan([backup], intents=[an_intent(backup, NOW - timedelta(minutes=10), attempt=2, why="no key")])

    assert asked(planned) == []
    assert planned.failed == (CopyFailure("snap-main-23", 2, "no key"),)


def test_with_the_catalogue_lost_the_failed_copies_themselves_say_how_often_and_when() -> None:
    backup = a_backup()
    broken = [a_copy(backup, "error", NOW - timedelta(minutes=age), age) for age in (10, 90)]

    planned = plan([backup], broken)

    assert asked(planned) == []
    assert [failure.failures for failure in planned.failed] == [2]


def test_an_intent_has_served_once_its_copy_is_complete_or_its_source_is_gone() -> None:
    copied, gone = a_backup(23), a_backup(19)
    intents = [an_intent(copied, NOW), an_intent(gone, NOW)]

    assert plan([copied], [a_copy(copied)], intents).served == tuple(intents)


# -- laws -------------------------------------------------------------------------------------------------------------

NIGHTS = some.lists(
    some.tuples(some.integers(1, 28), some.sampled_from([("us0a",), ("eu0a",), ("us0a", "eu0a"), ()])),
    min_size=1,
    max_size=12,
    unique_by=lambda night: night[0],
)
RULES = some.builds(Rules, last=some.integers(0, 2), daily=some.integers(0, 3), weekly=some.integers(0, 3))


def backups_of(nights: Sequence[tuple[int, tuple[str, ...]]]) -> list[Snapshot]:
    return [a_backup(day, complete=complete) for day, complete in nights]


@given(NIGHTS, RULES, some.randoms(use_true_random=False))
def test_the_order_of_what_is_listed_is_of_no_account(
    nights: list[tuple[int, tuple[str, ...]]], rules: Rules, chance: object
) -> None:
    backups = backups_of(nights)
    shuffled = chance.sample(backups, len(backups))  # type: ignore[attr-defined]

    assert plan(backups, rules=rules) == plan(shuffled, rules=rules)


@given(NIGHTS, RULES, some.data())
def test_copies_are_never_made_beside_one_on_its_way(
    nights: list[tuple[int, tuple[str, ...]]], rules: Rules, data: some.DataObject
) -> None:
    backups = backups_of(nights)
    states = data.draw(some.lists(some.sampled_from([None, "pending", "completed", "error"]), min_size=len(backups)))
    copies = [a_copy(each, state) for each, state in zip(backups, states, strict=False) if state]

    planned = plan(backups, copies, rules=rules)

    under_way = sum(copy.state == "pending" for copy in copies)
    is_wanted = {each.id for each in uncopied(backups, copies, rules)}
    assert len(planned.ask) <= 1
    if any(copy.state == "pending" and copy.tags[tags.SOURCE] in is_wanted for copy in copies):
        assert planned.ask == ()
    assert under_way + len(planned.ask) <= max(MOST_AT_ONCE, under_way)


@given(NIGHTS, RULES)
def test_what_the_standby_lets_go_of_is_not_copied_once_more(
    nights: list[tuple[int, tuple[str, ...]]], rules: Rules
) -> None:
    """Night after night: everything wanted is copied, and whatever the copies' rules expire over there is deleted."""
    copies: list[Snapshot] = []
    backups: list[Snapshot] = []
    for backup in sorted(backups_of(nights), key=lambda each: each.started):
        backups.append(backup)
        copies += [a_copy(each) for each in uncopied(backups, copies, rules)]
        there = plan_prune(_stock_of(copies), lambda host_id: rules, now=_after(backup))
        copies = [copy for copy in copies if copy.id not in there.mark]

        assert uncopied(backups, copies, rules) == ()


def _stock_of(copies: Sequence[Snapshot]) -> Stock:
    """What the standby has to decide on, with every restore point recorded."""
    taken = tuple(as_taken(copy) for copy in copies)
    return Stock(taken, tuple(point for each in taken for point in points_in(each)))


def _after(backup: Snapshot) -> datetime:
    return datetime.combine(backup.started.date(), time(12), UTC)
