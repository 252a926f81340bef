"""Pruning: what goes was marked a day before, nobody's last good point goes, and doubt deletes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import tags
from chalicelib.core.model import RunId, Snapshot, TreeKind
from chalicelib.core.pruning import PrunePlan, Reason, default_cap, plan_prune
from chalicelib.core.retention import Rules

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


def plan(snapshots: Sequence[Snapshot], rules: Rules | None = None, **more: object) -> PrunePlan:
    return plan_prune(snapshots, lambda host_id: rules or Rules(last=1), NOW, **more)  # type: ignore[arg-type]


def reasons(planned: PrunePlan, snapshot: Snapshot) -> tuple[Reason, ...]:
    (verdict,) = [each for each in planned.verdicts if each.snapshot == snapshot]
    return verdict.reasons


def test_an_unwanted_snapshot_is_marked_tonight_and_not_deleted() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1)])

    assert (planned.mark, planned.delete) == (("snap-main-1-0",), ())


def test_one_marked_on_an_earlier_day_is_deleted() -> None:
    planned = plan([a_snapshot(0), a_snapshot(1, marked=YESTERDAY)])

    assert (planned.mark, planned.delete) == ((), ("snap-main-1-0",))


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


def test_the_last_good_snapshot_of_a_host_that_stopped_being_backed_up_is_never_deleted() -> None:
    last_good = a_snapshot(300, ("us0a", "eu0a"), marked=YESTERDAY)
    since = [a_snapshot(night) for night in range(300)]

    planned = plan([last_good, *since], cap=1000)

    assert last_good.id not in (*planned.delete, *planned.mark)
    assert reasons(planned, last_good) == (Reason("last snapshot", "eu0a"),)


def test_hosts_have_rules_of_their_own_and_a_snapshot_stays_for_any_of_them() -> None:
    snapshots = [a_snapshot(night, ("us0a", "eu0a")) for night in range(4)]
    rules = {"us0a": Rules(last=1), "eu0a": Rules(last=3)}

    planned = plan_prune(snapshots, rules.__getitem__, NOW)

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
    known = plan(snapshots, Rules(last=9), adopted={second.id})

    assert unknown.mark == (second.id,)
    assert known.mark == (first.id,)


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


def test_a_backup_that_has_stalled_deletes_nothing() -> None:
    planned = plan([a_snapshot(5), a_snapshot(6, marked=YESTERDAY), a_snapshot(7)])

    assert "5 days old" in (planned.refused or "")
    assert (planned.mark, planned.delete) == ((), ())


def test_more_deletions_than_the_cap_are_refused_as_a_whole_until_confirmed() -> None:
    snapshots = [a_snapshot(0), *(a_snapshot(night, marked=YESTERDAY) for night in range(1, 31))]

    refused = plan(snapshots)
    confirmed = plan(snapshots, cap=30)

    assert "30 snapshots would be deleted and one night may delete 10" in (refused.refused or "")
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


@given(stocks, rule_sets)
def test_after_the_unwanted_are_gone_nothing_more_is_unwanted(snapshots: list[Snapshot], rules: Rules) -> None:
    first = plan(snapshots, rules, cap=1000)
    wanted = [verdict.snapshot for verdict in first.verdicts if verdict.is_wanted]

    second = plan(wanted, rules, cap=1000)

    assert all(verdict.is_wanted for verdict in second.verdicts)


@given(st.data(), stocks, rule_sets)
def test_the_order_of_the_listing_does_not_matter(data: st.DataObject, snapshots: list[Snapshot], rules: Rules) -> None:
    shuffled = data.draw(st.permutations(snapshots))

    assert plan(shuffled, rules) == plan(snapshots, rules)
