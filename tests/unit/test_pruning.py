"""Pruning: what goes was marked a day before, nobody's last good point goes, and doubt deletes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, zip_longest

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib.core import tags
from chalicelib.core.backups import find_next_source
from chalicelib.core.model import Recovery, RestorePoint, RunId, Snapshot, SnapshotLock, TreeKind
from chalicelib.core.proofs import doubts_of, proofs_of
from chalicelib.core.protections import Protections, protections, with_shared
from chalicelib.core.pruning import MOST_MARKED, Fate, PrunePlan, Reason, Stock, may_still_go, plan_prune
from chalicelib.core.refusals import default_cap
from chalicelib.core.retention import NEWEST_PROVEN, Rules
from chalicelib.core.verdicts import PROVEN, VERDICTS
from tests.builders import a_recovery, a_recovery_id

NOW = datetime(2026, 11, 24, 7, tzinfo=UTC)
YESTERDAY, TONIGHT = "2026-11-23", "2026-11-24"


def a_snapshot(
    nights_ago: int,
    complete: Sequence[str] = ("us0a",),
    state: str = "completed",
    extra: int = 0,
    receiver: str = "main",
    **also: str,
) -> Snapshot:
    """The snapshot of one night; `also` adds tags by their last word; `extra` makes a second one of the same run."""
    started = datetime(2026, 11, 24, 6, extra, tzinfo=UTC) - timedelta(days=nights_ago)
    written = tags.snapshot_tags(
        RunId(receiver, started.date(), 1), complete, TreeKind.FAKE_SUPER, tags.Consistency.RELEASED
    ) | {f"ebbtide:{word}": text for word, text in also.items()}
    return Snapshot(f"snap-{receiver}-{nights_ago}-{extra}", state, started, "vol-1", 80, 100, written)


def known(snapshot_id: str = "snap-elsewhere", host_id: str = "us0a", proven: bool = False) -> RestorePoint:
    """A point as the catalogue has it."""
    run = RunId("elsewhere", NOW.date(), 1)
    return RestorePoint(host_id, NOW, snapshot_id, run, TreeKind.FAKE_SUPER, None, NOW if proven else None)


def plan(
    snapshots: Sequence[Snapshot],
    rules: Rules | None = None,
    points: Sequence[RestorePoint] = (known(),),
    protected: Protections | None = None,
    cap: int | None = None,
    drills: Sequence[Recovery] = (),
) -> PrunePlan:
    stock = Stock(tuple(snapshots), tuple(points), protected or {}, proofs=proofs_of(drills), doubted=doubts_of(drills))
    return plan_prune(stock, lambda host_id: rules or Rules(last=1), NOW, cap)


def reasons(planned: PrunePlan, snapshot: Snapshot) -> tuple[Reason, ...]:
    (verdict,) = [each for each in planned.verdicts if each.snapshot == snapshot]
    return verdict.reasons


def test_an_unwanted_snapshot_is_marked_tonight_and_not_deleted() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1)])

    assert (planned.mark, planned.delete) == (("snap-main-1-0",), ())


def test_one_marked_on_an_earlier_day_is_deleted() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=YESTERDAY)])

    assert (planned.mark, planned.delete) == ((), ("snap-main-1-0",))


@pytest.mark.parametrize(("hours", "goes"), [(1, False), (19, False), (20, True), (24, True)])
def test_between_mark_and_deletion_lies_a_night_and_not_a_midnight(hours: int, goes: bool) -> None:
    marked = a_snapshot(1, marked=(NOW - timedelta(hours=hours)).isoformat())

    planned = plan([a_snapshot(0), marked])

    assert planned.delete == ((marked.id,) if goes else ())
    assert may_still_go(marked, planned) is goes


def test_one_marked_today_waits_for_tomorrow_however_often_the_pruner_runs() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=TONIGHT)])

    assert (planned.mark, planned.delete) == ((), ())


def test_one_that_is_wanted_again_loses_its_mark() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=YESTERDAY)], Rules(last=2))

    assert (planned.unmark, planned.delete) == (("snap-main-1-0",), ())


def test_an_empty_or_unreadable_mark_is_no_mark() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=""), a_snapshot(2, marked="soon")])

    assert planned.mark == ("snap-main-2-0", "snap-main-1-0")
    assert planned.delete == ()


def test_a_held_snapshot_stays_and_says_what_it_is_held_for() -> None:
    held = a_snapshot(1, marked=YESTERDAY, hold="the auditors")

    planned = plan([a_snapshot(0), held])

    assert planned.delete == ()
    assert reasons(planned, held) == (Reason("held: the auditors"),)


def test_a_hold_says_by_whom_and_since_when() -> None:
    held = a_snapshot(1, **{"hold": "the auditors", "hold-by": "ada", "hold-since": "2026-11-20T10:00:00Z"})

    planned = plan([a_snapshot(0), held])

    assert reasons(planned, held) == (Reason("held by ada since 2026-11-20T10:00:00Z: the auditors"),)


def test_a_hold_taken_off_is_none() -> None:
    released = a_snapshot(1, **{"hold": "", "hold-by": "", "hold-since": ""})

    assert plan([a_snapshot(0), released]).mark == (released.id,)


def test_what_ec2_has_other_use_for_stays_and_says_for_what() -> None:
    locked, expired, imaged, recovering, shared = snapshots = [
        a_snapshot(night, marked=YESTERDAY) for night in range(1, 6)
    ]
    protected = protections(
        locks=[
            SnapshotLock(locked.id, "compliance", datetime(2027, 11, 1, tzinfo=UTC)),
            SnapshotLock(expired.id, "expired", datetime(2026, 11, 1, tzinfo=UTC)),
        ],
        images={imaged.id: "ami-1", "snap-of-something-else": "ami-2"},
        recoveries=[a_recovery(point=known(recovering.id))],
    )

    planned = plan([a_snapshot(0), *snapshots], protected=with_shared(protected, [shared.id]))

    assert planned.delete == (expired.id,)
    assert [reasons(planned, each) for each in (locked, imaged, recovering, shared)] == [
        (Reason("locked (compliance) until 2027-11-01"),),
        (Reason("image ami-1 is made of it"),),
        (Reason("drill us0a/2026-11-23/1 is under way"),),
        (Reason("shared with another account"),),
    ]


def test_a_lock_without_an_end_protects_too_and_several_reasons_are_all_told() -> None:
    snapshot = a_snapshot(1)
    protected = protections([SnapshotLock(snapshot.id, "governance", None)], {snapshot.id: "ami-1"}, [])

    planned = plan([a_snapshot(0), snapshot], protected=protected)

    assert reasons(planned, snapshot) == (Reason("locked (governance)"), Reason("image ami-1 is made of it"))


def test_the_newest_point_that_a_drill_has_proven_stays() -> None:
    older, newer = a_snapshot(9), a_snapshot(8)
    points = [known(older.id, proven=True), known(newer.id, proven=True)]

    planned = plan([a_snapshot(0), older, newer], points=points)

    assert planned.mark == (older.id,)
    assert reasons(planned, newer) == (Reason(NEWEST_PROVEN, "us0a"),)


def drilled(*verdicts: tuple[int, str]) -> list[Recovery]:
    """One drill after the other, each of the point of a night so long ago."""
    points = (replace(known(f"snap-main-{nights}-0"), proven=None) for nights, _ in verdicts)
    numbers = count(1)
    return [
        replace(a_recovery(recovery_id=a_recovery_id(attempt=next(numbers)), point=point), verdict=verdict, closed=NOW)
        for point, (_, verdict) in zip(points, verdicts, strict=True)
    ]


@pytest.mark.parametrize("is_marked", [True, False], ids=["its mark is in the catalogue", "its mark was taken off"])
def test_a_proof_that_a_later_drill_contradicts_keeps_nothing_and_the_one_before_does(is_marked: bool) -> None:
    newest, contradicted, good, other = (a_snapshot(nights) for nights in (0, 1, 2, 3))
    points = [known(contradicted.id, proven=is_marked), known(good.id, proven=True), known(other.id)]

    planned = plan(
        [newest, contradicted, good, other],
        points=points,
        drills=drilled((2, "proven"), (1, "proven"), (1, "different")),
    )

    assert planned.mark == (other.id, contradicted.id)
    assert reasons(planned, good) == (Reason(NEWEST_PROVEN, "us0a"),)


@pytest.mark.parametrize("verdict", ["failed", "unproven", "content only", "as recorded"])
def test_a_proof_whose_point_came_to_nothing_later_keeps_its_snapshot_and_so_does_the_one_before(verdict: str) -> None:
    newest, doubted, good, other = (a_snapshot(nights) for nights in (0, 1, 2, 3))
    points = [known(doubted.id, proven=True), known(good.id, proven=True), known(other.id)]

    planned = plan(
        [newest, doubted, good, other], points=points, drills=drilled((2, "proven"), (1, "proven"), (1, verdict))
    )

    assert planned.mark == (other.id,)
    assert reasons(planned, doubted) == reasons(planned, good) == (Reason(NEWEST_PROVEN, "us0a"),)


def test_nothing_of_a_host_goes_while_its_backups_fail() -> None:
    stalled = [a_snapshot(night, ("us0a", "eu0a")) for night in (5, 6)]
    since = [a_snapshot(night) for night in range(5)]

    planned = plan([*stalled, *since])

    assert planned.refused is None
    assert planned.mark == tuple(each.id for each in reversed(since[1:]))
    assert reasons(planned, stalled[1]) == (Reason("its newest point is 5 days old", "eu0a"),)


def test_every_snapshot_has_a_fate_and_the_most_it_costs() -> None:
    snapshots = [a_snapshot(0), a_snapshot(1), a_snapshot(2, marked=TONIGHT), a_snapshot(3, marked=YESTERDAY)]

    planned = plan(snapshots)

    assert planned.fates == (Fate.DELETE, Fate.WAIT, Fate.MARK, Fate.KEEP)
    assert [verdict.most_usd_a_month for verdict in planned.verdicts] == [4.0] * 4


def test_a_night_marks_no_more_than_it_can_and_the_oldest_first() -> None:
    snapshots = [a_snapshot(night) for night in range(MOST_MARKED + 3)]

    planned = plan(snapshots)

    assert planned.mark == tuple(each.id for each in reversed(snapshots[3:]))
    assert planned.fates == (*[Fate.MARK] * MOST_MARKED, Fate.WAIT, Fate.WAIT, Fate.KEEP)


def test_a_refused_plan_leaves_all_that_is_unwanted_waiting() -> None:
    planned = plan([a_snapshot(5), a_snapshot(6, marked=YESTERDAY), a_snapshot(7)], Rules(last=1))

    assert set(planned.fates) == {Fate.KEEP}
    assert plan([a_snapshot(0), a_snapshot(1)], points=()).fates == (Fate.WAIT, Fate.KEEP)


def test_just_before_it_is_deleted_a_snapshot_must_still_be_marked_and_held_by_nobody() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=YESTERDAY)])

    assert may_still_go(a_snapshot(1, marked=YESTERDAY), planned)
    assert not may_still_go(a_snapshot(1, marked=TONIGHT), planned)
    assert not may_still_go(a_snapshot(1, marked=""), planned)
    assert not may_still_go(a_snapshot(1, marked=YESTERDAY, hold="wait"), planned)


def test_the_last_good_snapshot_of_a_host_that_stopped_being_backed_up_is_never_deleted() -> None:
    last_good = a_snapshot(300, ("us0a", "eu0a"), marked=YESTERDAY)
    since = [a_snapshot(night) for night in range(300)]

    planned = plan([last_good, *since], cap=1000)

    assert last_good.id not in (*planned.delete, *planned.mark)
    assert reasons(planned, last_good) == (Reason("last snapshot", "eu0a"),)


def test_hosts_have_rules_of_their_own_and_a_snapshot_stays_for_any_of_them() -> None:
    snapshots = [a_snapshot(night, ("us0a", "eu0a")) for night in range(4)]
    rules = {"us0a": Rules(last=1), "eu0a": Rules(last=3)}

    planned = plan_prune(Stock(tuple(snapshots), (known(),)), rules.__getitem__, NOW)

    assert planned.mark == ("snap-main-3-0",)
    assert reasons(planned, snapshots[2]) == (Reason("last snapshot", "eu0a"),)


def test_the_newest_snapshot_of_a_receiver_stays_even_if_no_host_was_complete() -> None:
    empty = a_snapshot(0, ())

    planned = plan([empty, a_snapshot(1), a_snapshot(2, ())])

    assert reasons(planned, empty) == (Reason("newest snapshot of main"),)
    assert planned.mark == ("snap-main-2-0",)


def test_a_second_snapshot_of_one_run_goes_and_the_adopted_one_stays() -> None:
    first, second = a_snapshot(1, extra=0), a_snapshot(1, extra=9)
    snapshots = [a_snapshot(0), first, second]

    unknown = plan(snapshots, Rules(last=9))
    adopted = plan(snapshots, Rules(last=9), points=[known(second.id)])

    assert unknown.mark == (second.id,)
    assert adopted.mark == (first.id,)


def test_a_second_snapshot_of_one_run_stays_for_the_hosts_that_were_complete_in_it_alone() -> None:
    first, second = a_snapshot(1, (), extra=0), a_snapshot(1, extra=9)
    of_us0, of_both = a_snapshot(2, extra=0), a_snapshot(2, ("us0a", "eu0a"), extra=9)

    planned = plan([a_snapshot(0, ()), first, second, of_us0, of_both], Rules(last=9))

    assert planned.mark == (first.id,)
    assert reasons(planned, second) == (Reason("last snapshot", "us0a"),)
    assert reasons(planned, of_both) == (Reason("last snapshot", "eu0a"),)


def test_a_copy_is_judged_like_the_backup_it_is_of() -> None:
    newest, older = (a_snapshot(night, role="copy") for night in range(2))

    planned = plan([newest, older])

    assert (planned.mark, planned.left_alone) == ((older.id,), ())


def test_a_failed_snapshot_holds_nothing_and_goes() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1), a_snapshot(2, state="error", marked=YESTERDAY)], Rules(daily=7))

    assert planned.delete == ("snap-main-2-0",)


def test_what_is_not_understood_is_left_alone_and_listed() -> None:
    strangers = [
        a_snapshot(9, schema="2", marked=YESTERDAY),
        a_snapshot(8, role="data", marked=YESTERDAY),
        a_snapshot(7, run="somewhere", marked=YESTERDAY),
        a_snapshot(6, tree="ivy", marked=YESTERDAY),
        a_snapshot(5, state="pending", marked=YESTERDAY),
        replace(a_snapshot(4), tags={}),
        a_snapshot(3, marked=YESTERDAY, **{"complete.0": "us0"}),
    ]

    planned = plan([a_snapshot(0), *strangers])

    assert (planned.mark, planned.delete) == ((), ())
    assert [each.snapshot for each in planned.left_alone] == strangers
    assert [each.why.split(":")[0] for each in planned.left_alone] == [
        "its schema is 2, and this version knows 1",
        "it is not tagged as a backup of ours",
        "its tags are damaged",
        "its tags are damaged",
        "it is pending",
        "it is not tagged as a backup of ours",
        "its tags are damaged",
    ]


def test_an_empty_listing_is_refused() -> None:
    assert "no backup snapshot was found" in (plan([]).refused or "")
    assert "no backup snapshot was found" in (plan([replace(a_snapshot(0), tags={})]).refused or "")


def test_nothing_is_deleted_while_no_complete_host_is_known() -> None:
    planned = plan([a_snapshot(0, ()), a_snapshot(1, (), marked=YESTERDAY)])

    assert "no completed snapshot holds a complete host" in (planned.refused or "")
    assert planned.delete == ()


def test_a_catalogue_that_knows_no_point_is_rebuilt_first() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=YESTERDAY)], points=())

    assert "rebuild" in (planned.refused or "")
    assert planned.delete == ()


def test_a_backup_that_has_stalled_deletes_nothing() -> None:
    planned = plan([a_snapshot(5), a_snapshot(6, marked=YESTERDAY), a_snapshot(7)])

    assert "5 days old" in (planned.refused or "")
    assert (planned.mark, planned.delete) == ((), ())


def test_more_deletions_than_the_cap_are_refused_as_a_whole_until_confirmed() -> None:
    snapshots = [a_snapshot(0), *(a_snapshot(night, marked=YESTERDAY) for night in range(1, 31))]

    refused = plan(snapshots)
    confirmed = plan(snapshots, cap=30)

    assert "30 snapshots would be deleted and one night may delete 10" in (refused.refused or "")
    assert "--allow 30" in (refused.refused or "")
    assert refused.delete == ()
    assert len(confirmed.delete) == 30


def test_a_refusal_still_takes_marks_off_because_that_only_protects() -> None:
    planned = plan([a_snapshot(5, marked=YESTERDAY), a_snapshot(6)])

    assert planned.refused
    assert planned.unmark == ("snap-main-5-0",)


def test_the_cap_grows_with_the_stock() -> None:
    assert [default_cap(backups) for backups in (0, 12, 30, 33, 300)] == [10, 10, 10, 11, 100]


hosts = st.lists(st.sampled_from(["us0a", "eu0a", "ap0a"]), unique=True, max_size=3)
marks = st.sampled_from([{}, {"marked": YESTERDAY}, {"marked": TONIGHT}, {"hold": "why"}])
drills = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["us0a", "eu0a"])), max_size=5).map(
    lambda made: [known(), *(known(f"snap-main-{night}-0", host_id, proven=True) for night, host_id in made)]
)
stocks = st.lists(
    st.tuples(st.integers(0, 60), hosts, marks, st.sampled_from(["completed", "pending", "error"]), st.integers(0, 1)),
    unique_by=lambda made: (made[0], made[4]),
    max_size=30,
).map(lambda made: [a_snapshot(nights, who, state, extra, **also) for nights, who, also, state, extra in made])
rule_sets = st.builds(Rules, last=st.integers(-1, 3), daily=st.integers(-1, 7), weekly=st.integers(0, 4))


@given(stocks, rule_sets, st.integers(0, 30))
def test_every_snapshot_is_either_judged_or_left_alone_and_only_the_unwanted_go(
    snapshots: list[Snapshot], rules: Rules, cap: int
) -> None:
    planned = plan(snapshots, rules, cap=cap)

    judged = [verdict.snapshot.id for verdict in planned.verdicts]
    alone = [each.snapshot.id for each in planned.left_alone]
    unwanted = {verdict.snapshot.id for verdict in planned.verdicts if not verdict.is_wanted}
    assert sorted([*judged, *alone]) == sorted(snapshot.id for snapshot in snapshots)
    assert {*planned.mark, *planned.delete} <= unwanted
    assert not unwanted & {*planned.unmark}
    assert len(planned.delete) <= cap


@given(stocks, rule_sets)
def test_what_is_deleted_is_never_held_never_marked_today_and_never_a_hosts_last(
    snapshots: list[Snapshot], rules: Rules
) -> None:
    planned = plan(snapshots, rules, cap=1000)

    going = {*planned.delete, *planned.mark}
    remaining = [each for each in snapshots if each.id not in going and each.state == "completed"]
    by_id = {snapshot.id: snapshot for snapshot in snapshots}
    assert not any(by_id[name].tags.get(tags.HOLD) for name in going)
    assert all(by_id[name].tags[tags.MARKED] == YESTERDAY for name in planned.delete)
    for host_id in ("us0a", "eu0a", "ap0a"):
        nights = [s.started.date() for s in snapshots if s.state == "completed" and host_id in tags.unpack(s.tags)]
        left = [s.started.date() for s in remaining if host_id in tags.unpack(s.tags)]
        assert max(nights, default=None) == max(left, default=None)


@given(stocks, rule_sets, drills)
def test_the_newest_proven_point_of_a_host_is_never_deleted(
    snapshots: list[Snapshot], rules: Rules, points: list[RestorePoint]
) -> None:
    planned = plan(snapshots, rules, points, cap=1000)

    going = {*planned.delete, *planned.mark}
    for host_id in ("us0a", "eu0a"):
        proven = {point.snapshot_id for point in points if point.proven and point.host_id == host_id}
        there = [s for s in snapshots if s.id in proven and s.state == "completed" and host_id in tags.unpack(s.tags)]
        if there:
            assert max(there, key=lambda snapshot: snapshot.started).id not in going


verdicts = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(VERDICTS)), max_size=12)


@given(stocks, rule_sets, verdicts)
def test_the_newest_point_whose_newest_verdict_is_proven_is_never_deleted(
    snapshots: list[Snapshot], rules: Rules, told: list[tuple[int, str]]
) -> None:
    ever_proven = [known(f"snap-main-{nights}-0", proven=True) for nights, verdict in told if verdict == PROVEN]

    planned = plan(snapshots, rules, [known(), *ever_proven], cap=1000, drills=drilled(*told))

    newest_verdict = {f"snap-main-{nights}-0": verdict for nights, verdict in told}
    there = [each for each in snapshots if each.state == "completed" and "us0a" in tags.unpack(each.tags)]
    proven = [each for each in there if newest_verdict.get(each.id) == PROVEN]
    if proven:
        assert max(proven, key=lambda snapshot: snapshot.started).id not in {*planned.delete, *planned.mark}


@given(stocks, rule_sets, st.sampled_from(["last", "daily", "weekly"]), st.integers(-1, 9))
def test_a_rule_more_never_wants_less(snapshots: list[Snapshot], rules: Rules, rule: str, more: int) -> None:
    assume(not rules.are_empty)
    count = getattr(rules, rule)
    wider = replace(rules, **{rule: -1 if -1 in (count, more) else max(count, more)})

    before, after = (
        {verdict.snapshot.id for verdict in plan(snapshots, each).verdicts if verdict.is_wanted}
        for each in (rules, wider)
    )

    assert before <= after


@given(stocks, rule_sets, drills)
def test_after_the_unwanted_are_gone_nothing_more_is_unwanted(
    snapshots: list[Snapshot], rules: Rules, points: list[RestorePoint]
) -> None:
    first = plan(snapshots, rules, points, cap=1000)
    wanted = [verdict.snapshot for verdict in first.verdicts if verdict.is_wanted]

    second = plan(wanted, rules, points, cap=1000)

    assert all(verdict.is_wanted for verdict in second.verdicts)


@given(st.data(), stocks, rule_sets)
def test_the_order_of_the_listing_does_not_matter(data: st.DataObject, snapshots: list[Snapshot], rules: Rules) -> None:
    shuffled = data.draw(st.permutations(snapshots))

    assert plan(shuffled, rules) == plan(snapshots, rules)


# -- what was found damaged -------------------------------------------------------------------------------------------


def damaged(snapshot: Snapshot, days_ago: int = 0, **also: str) -> Snapshot:
    found = {tags.DAMAGED: f"main/{NOW.date() - timedelta(days=days_ago)}/1"}
    return replace(snapshot, tags=snapshot.tags | found | {f"ebbtide:{word}": text for word, text in also.items()})


def test_nobodys_newest_point_is_in_a_damaged_snapshot_so_the_sound_one_before_it_stays() -> None:
    sound = a_snapshot(1)

    planned = plan([a_snapshot(2), sound, damaged(a_snapshot(0))], Rules(last=1))

    assert Reason("last snapshot", "us0a") in reasons(planned, sound)
    assert planned.mark == ("snap-main-2-0",)


def test_a_sound_snapshot_of_the_same_day_counts_for_it_and_not_the_damaged_one() -> None:
    earlier = a_snapshot(1)
    later = damaged(a_snapshot(1, extra=1, run=f"main/{YESTERDAY}/2"))

    planned = plan([a_snapshot(0), earlier, later], Rules(daily=2))

    assert Reason("daily snapshot", "us0a") in reasons(planned, earlier)


@pytest.mark.parametrize(("days", "until"), [(0, "2026-12-24"), (29, "2026-11-25"), (30, None), (31, None)])
def test_a_damaged_snapshot_stays_thirty_days_to_be_looked_at_and_then_goes_by_a_mark(
    days: int, until: str | None
) -> None:
    looked_at = damaged(a_snapshot(2), days)

    planned = plan([a_snapshot(0), looked_at])

    why = (Reason(f"found damaged, kept until {until} to be looked at"),) if until else ()
    assert reasons(planned, looked_at) == why
    assert planned.mark == (() if until else (looked_at.id,))
    assert plan([a_snapshot(0), damaged(a_snapshot(2), days, marked=YESTERDAY)]).delete == planned.mark


def test_it_stays_beyond_that_while_the_rules_would_keep_it_if_it_were_sound() -> None:
    broken = damaged(a_snapshot(2, ("us0a", "eu0a")), 60)

    planned = plan([a_snapshot(0), a_snapshot(4, ("eu0a",)), broken])

    assert reasons(planned, broken) == (Reason("damaged; otherwise last snapshot", "eu0a"),)


def test_what_the_next_volume_is_made_from_stays_though_the_newest_is_damaged() -> None:
    moved = a_snapshot(0, receiver="second")

    planned = plan([moved, damaged(a_snapshot(1, ()), 60), a_snapshot(2), a_snapshot(3)], Rules(last=1))

    assert planned.mark == ("snap-main-3-0",)


def test_damage_is_no_good_backup_so_a_stock_of_it_deletes_nothing() -> None:
    planned = plan([a_snapshot(4), a_snapshot(5, marked=YESTERDAY), damaged(a_snapshot(0))])

    assert planned.refused is not None
    assert "the newest good snapshot is 4 days old" in planned.refused


def test_what_the_catalogue_still_has_of_a_damaged_snapshot_is_named_also_when_nothing_goes() -> None:
    broken = damaged(a_snapshot(0))

    planned = plan([broken, a_snapshot(9)], points=[known("snap-main-9-0"), known(broken.id)])

    assert planned.refused
    assert planned.damaged == (known(broken.id),)


hurts = st.lists(st.sampled_from([f"main/{NOW.date() - timedelta(days=60)}/1", "main/2026-11-24/1", "", None]))


def hurt_some(snapshots: list[Snapshot], found: list[str | None]) -> list[Snapshot]:
    """Those that have a word beside them are called damaged by it."""
    words = zip_longest(snapshots, found[: len(snapshots)])
    return [each if word is None else replace(each, tags=each.tags | {tags.DAMAGED: word}) for each, word in words]


@given(stocks, rule_sets, hurts)
def test_sound_points_are_kept_as_if_there_were_no_damaged_snapshot(
    snapshots: list[Snapshot], rules: Rules, found: list[str | None]
) -> None:
    hurt = hurt_some(snapshots, found)
    sound = [each for each in hurt if tags.DAMAGED not in each.tags]

    among_damage, alone = (plan(each, rules, cap=1000) for each in (hurt, sound))

    for_hosts = {each.snapshot.id: {reason for reason in each.reasons if reason.host_id} for each in alone.verdicts}
    of_sound = [each for each in among_damage.verdicts if tags.DAMAGED not in each.snapshot.tags]
    assert {each.snapshot.id: {r for r in each.reasons if r.host_id} for each in of_sound} == for_hosts
    source = find_next_source(hurt)
    assert source is None or source.id not in {*among_damage.mark, *among_damage.delete}


@given(stocks, rule_sets, drills, hurts)
def test_nothing_goes_for_being_called_damaged_that_would_stay_otherwise(
    snapshots: list[Snapshot], rules: Rules, points: list[RestorePoint], found: list[str | None]
) -> None:
    before, after = (
        {verdict.snapshot.id for verdict in plan(each, rules, points).verdicts if verdict.is_wanted}
        for each in (snapshots, hurt_some(snapshots, found))
    )

    assert before <= after
