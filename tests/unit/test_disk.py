"""A disk that fills up is told in time: by how full it is, and by when it will be full; nothing is told too early."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.advice import Kind
from chalicelib.core.alarms import Facts, find_troubles, subjects
from chalicelib.core.dead_man import weekly
from chalicelib.core.disk import Measured, filling, growth_of
from chalicelib.core.model import Disk, Quota
from tests.builders import a_disk, a_moment, a_night, some_facts

GIB = 2**30
MORNING = a_moment(7)


def nights(*used_gib: float, size_gib: float = 80) -> list[Measured]:
    """One a day, the last one on the 23rd."""
    first = 24 - len(used_gib)
    return [Measured(a_moment(3, day=first + day), a_disk(used, size_gib)) for day, used in enumerate(used_gib)]


def some_nights(*used_gib: float, size_gib: float = 80) -> Facts:
    measured = nights(*used_gib, size_gib=size_gib)
    closed = [a_night(each.at.day) for each in measured]
    return some_facts(
        *(
            replace(night, run=replace(night.run, disk=each.disk, closed=each.at))
            for night, each in zip(closed, measured, strict=True)
        )
    )


def test_without_a_measure_there_is_nothing_to_say() -> None:
    assert filling([]) is None


@pytest.mark.parametrize(("used", "told"), [(71.9, False), (72, True), (79, True)])
def test_a_disk_is_too_full_from_nine_tenths_on(used: float, told: bool) -> None:
    found = filling(nights(used))

    assert found is not None
    assert found.is_too_full is told


@pytest.mark.parametrize(("used", "told"), [((40, 41), False), ((40, 41, 42), False), ((40, 43, 46), True)])
def test_a_disk_that_will_be_full_within_two_weeks_is_told_from_the_third_night_on(
    used: Sequence[float], told: bool
) -> None:
    found = filling(nights(*used))

    assert found is not None
    assert found.is_too_full is told


def test_inodes_run_out_too_and_a_file_system_that_does_not_count_them_never_does() -> None:
    few, none = a_disk(), a_disk()
    few, none = replace(few, inodes=1000, inodes_used=901), replace(none, inodes=0, inodes_used=0)

    found = [filling([Measured(MORNING, disk)]) for disk in (few, none)]

    assert [each is not None and each.is_too_full for each in found] == [True, False]


def test_the_night_on_which_a_new_host_pushed_all_it_has_makes_no_alarm() -> None:
    found = filling(nights(20, 20.1, 20.2, 40.3, 40.4, 40.5, 40.6))

    assert found is not None
    assert found.bytes_a_day is not None
    assert found.bytes_a_day < 0.2 * GIB
    assert not found.is_too_full


def test_logs_that_grow_for_a_week_and_are_then_let_go_make_no_alarm() -> None:
    found = filling(nights(*(50 + day % 7 * 2 for day in range(14))))

    assert found is not None
    assert not found.is_too_full


@given(st.lists(st.floats(0, 80), min_size=3, max_size=14), st.randoms(use_true_random=False))
def test_the_order_of_the_nights_is_irrelevant(used: list[float], lot: object) -> None:
    in_order = nights(*used)
    mixed = list(in_order)
    lot.shuffle(mixed)  # type: ignore[attr-defined]

    assert filling(mixed) == filling(in_order)


@given(st.floats(0.01, 5), st.integers(3, 14))
def test_steady_growth_is_found_whatever_the_number_of_nights(gib_a_day: float, count: int) -> None:
    growth = growth_of(nights(*(day * gib_a_day for day in range(count))))

    assert growth == pytest.approx(gib_a_day * GIB, rel=1e-6)


@given(st.lists(st.floats(0, 80), min_size=1, max_size=14))
def test_a_disk_that_does_not_grow_has_no_last_day(used: list[float]) -> None:
    found = filling(nights(*sorted(used, reverse=True)))

    assert found is not None
    assert found.days_left is None


def test_the_trouble_names_the_receiver_its_figures_and_what_the_policy_says() -> None:
    (trouble,) = find_troubles(some_nights(70, 72, 74), MORNING)

    assert (trouble.kind, trouble.about, trouble.since) == (Kind.DISK_FILLING, "disk/main", a_moment(3))
    assert trouble.what == "the volume of receiver main is 92% full, and may be full in 3 days"
    assert trouble.details == (
        "74.0 of 80.0 GiB used, 6.0 GiB free",
        "1,000 of 1,000,000 inodes used",
        "growth: +2.00 GiB a day, by the median of its last nights",
        "volume.size in the policy: 80 GiB",
    )


@pytest.mark.fault("R5", lacks="ext4's quotas on a kernel that has them")
def test_r5_a_disk_that_is_almost_full_is_told_once_more() -> None:
    filling_up, almost = (find_troubles(some_nights(used), MORNING)[0] for used in (74, 76))

    assert (filling_up.occurrence, almost.occurrence) == ("filling", "almost full")


def test_what_is_in_reserve_is_room_for_nobody() -> None:
    disk = a_disk(78, 80)

    found = filling([Measured(MORNING, replace(disk, free=0))])

    assert found is not None
    assert found.full == 1.0


# -- the quota of a host ----------------------------------------------------------------------------------------------


def nights_of_us0(*used_gib: float, quota_gib: int | None = 30, why: str = "") -> Facts:
    """One a day, the last one on the 23rd; us0 alone has a quota."""
    facts = some_nights(*(20.0 for _ in used_gib))
    with_quotas = tuple(
        replace(night, results=(replace(night.results[0], quota=a_quota(used, why)), *night.results[1:]))
        for night, used in zip(facts.nights["main"], reversed(used_gib), strict=True)
    )
    us0 = replace(facts.policy.hosts["us0"], quota_gib=quota_gib)
    policy = replace(facts.policy, hosts={**facts.policy.hosts, "us0": us0})
    return replace(facts, policy=policy, nights={"main": with_quotas})


def a_quota(used_gib: float, why: str = "") -> Quota:
    return Quota(30 * GIB, None if why else int(used_gib * GIB), why)


@pytest.mark.parametrize(
    ("used", "told"),
    [
        ((26.9,), None),
        ((27.0,), ("filling", "the quota of host us0 is 90% full")),
        ((29.0,), ("almost full", "the quota of host us0 is 97% full")),
        ((20.0, 21.0), None),
        ((20.0, 21.0, 22.0), ("filling", "the quota of host us0 is 73% full, and may be full in 8 days")),
        ((10.0, 10.1, 20.2, 20.3, 20.4), None),
    ],
)
def test_a_host_is_told_of_before_it_is_at_its_quota(used: Sequence[float], told: tuple[str, str] | None) -> None:
    found = find_troubles(nights_of_us0(*used), MORNING)

    assert [(each.occurrence, each.what) for each in found] == ([told] if told else [])


def test_the_trouble_of_a_quota_names_its_figures_and_what_the_policy_says() -> None:
    (trouble,) = find_troubles(nights_of_us0(25, 26, 27), MORNING)

    assert (trouble.kind, trouble.about, trouble.since) == (Kind.HOST_QUOTA, "quota/us0a", a_moment(3))
    assert trouble.about in subjects(some_facts().policy)
    assert trouble.details == (
        "27.0 of 30.0 GiB used, 3.0 GiB free",
        "growth: +1.00 GiB a day, by the median of its last nights",
        "quota in the policy: 30 GiB",
    )


def test_a_quota_that_nothing_keeps_the_host_to_is_told_with_the_reason() -> None:
    (trouble,) = find_troubles(nights_of_us0(20, why="this kernel\x1b[2J"), MORNING)

    assert trouble.what == "the quota of host us0 holds nothing: this kernel?[2J"
    assert trouble.occurrence == "not kept"


def test_who_has_no_quota_in_the_policy_has_no_trouble_with_one() -> None:
    assert find_troubles(nights_of_us0(29, quota_gib=None), MORNING) == ()


def test_the_weekly_letter_says_how_full_volumes_and_quotas_are() -> None:
    letter = weekly(nights_of_us0(10, 10, 10), (), {}, a_moment(12, day=23))

    assert letter is not None
    told = letter.body.partition("how full it is:\n")[2].splitlines()[:2]
    assert told == ["  the volume of receiver main is 25% full", "  the quota of host us0 is 33% full"]


def test_nights_whose_receiver_measured_nothing_say_nothing() -> None:
    assert find_troubles(some_facts(a_night(22), a_night(23)), MORNING) == ()


def test_a_larger_volume_is_well_again_with_its_next_night() -> None:
    before, after = nights(70, 72, 74), Measured(a_moment(3, day=24), a_disk(74.1, 200))

    found = filling([*before, after])

    assert found is not None
    assert not found.is_too_full
    assert found.disk == Disk(200 * GIB, int(74.1 * GIB), 200 * GIB - int(74.1 * GIB), 1_000_000, 1000)
    assert found.days_left is not None
    assert timedelta(days=found.days_left) > timedelta(days=14)
