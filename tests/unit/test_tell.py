"""What is wrong reaches the operators once, whoever calls, however often, and wherever a teller died."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.core.alarms import Night
from chalicelib.core.model import Copying, HostStatus, Pruning, RunState, Uncopied
from chalicelib.core.preflight import Preflight
from chalicelib.core.telling import REPEAT, TAKE_OVER
from chalicelib.errors import EbbtideError, PermanentError, TransientError
from chalicelib.flows.tell import Telling, tell
from tests.builders import A_KEY, A_POLICY_TEXT, a_moment, a_night, a_point, a_run_id
from tests.fakes import Crash, FakeWorld, Fuse, a_fused_world, a_world

NOW = a_moment(9)
URL = "https://example.org/ping"
WITH_PING = A_POLICY_TEXT + f'\n[alarm]\ntopic = "ops"\nping = "{URL}"\n'
MISSING, COMPLETE = HostStatus.MISSING, HostStatus.COMPLETE


def a_world_after(*nights: Night, policy: str = A_POLICY_TEXT) -> FakeWorld:
    """A world in which these nights have closed, and every complete host has its point."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", policy.encode())
    world.catalog.set_policy_version("000001", None)
    world.catalog.record_preflight(Preflight(a_moment(12, day=22)))
    for night in nights:
        remember(world, night)
    return world


def remember(world: FakeWorld, night: Night) -> None:
    world.catalog.open_run(night.run)
    for result in night.results:
        world.catalog.record_result(result)
        if result.status.is_complete:
            world.catalog.record_point(a_point(result.id, f"snap-{result.run.day}", result.run))


def failed(day: int) -> Night:
    return a_night(day, RunState.FAILED, us0=MISSING, eu0=MISSING)


def degraded(day: int) -> Night:
    return a_night(day, RunState.DEGRADED, us0=MISSING, eu0=COMPLETE)


def without_the_weekly(world: FakeWorld) -> list[str]:
    return [subject for subject in world.alarms.subjects if not subject.startswith("weekly")]


def test_a_failed_run_is_told_once_however_often_it_is_asked() -> None:
    world = a_world_after(failed(23))

    for _ in range(5):
        tell(world, NOW)

    assert without_the_weekly(world) == ["run failed: run main/2026-11-23/1 failed: it does not say why"]


def test_it_goes_to_the_topic_that_the_policy_names() -> None:
    default, named = a_world_after(failed(23)), a_world_after(failed(23), policy=WITH_PING)

    tell(default, NOW)
    tell(named, NOW)

    assert {topic for topic, _, _ in default.alarms.published} == {"alarms"}
    assert {topic for topic, _, _ in named.alarms.published} == {"ops"}


def test_a_host_that_recovers_gets_one_word_that_it_is_well_again() -> None:
    world = a_world_after(degraded(22), degraded(23))
    tell(world, NOW)
    remember(world, a_night(24))

    for _ in range(3):
        tell(world, NOW + timedelta(days=1))

    assert without_the_weekly(world) == [
        "missed: host us0 was not complete on 2 nights in a row",
        "host us0 is well again",
    ]


def test_a_refused_pruning_is_told_from_what_was_recorded() -> None:
    world = a_world_after(a_night(23))
    world.catalog.record_pruning(Pruning(NOW, "too many would be deleted"))

    tell(world, NOW)

    assert without_the_weekly(world) == [
        "prune refused: retention refused to prune: too many would be deleted",
    ]


COPYING = f'{A_POLICY_TEXT}\n[copy]\nregion = "eu-central-1"\nretention = {{ daily = 2 }}\n'
LACKING = (Uncopied("snap-23", "main/2026-11-23/1", NOW, failures=2, why="no key"),)


def test_failing_copies_are_told_once_and_that_all_is_well_once_they_are_complete() -> None:
    world = a_world_after(a_night(23), policy=COPYING)
    failing = world.catalog.save_copying(Copying("eu-central-1", NOW, LACKING))
    assert failing is not None

    for minute in (0, 5):
        tell(world, NOW + timedelta(minutes=minute))
    world.catalog.save_copying(replace(failing, uncopied=()))
    tell(world, NOW + timedelta(minutes=10))

    assert without_the_weekly(world) == [
        "copy failed: 1 snapshot lacks its copy in eu-central-1",
        "copying to eu-central-1 is well again",
    ]


def test_copies_that_the_policy_no_longer_wants_are_not_well_but_gone() -> None:
    world = a_world_after(a_night(23), policy=COPYING)
    world.catalog.save_copying(Copying("eu-central-1", NOW, LACKING))
    tell(world, NOW)
    world.archive.put_once("policies/000002.toml", A_POLICY_TEXT.encode())
    world.catalog.set_policy_version("000002", "000001")

    tell(world, NOW + timedelta(minutes=5))

    assert without_the_weekly(world)[1:] == ["copying to eu-central-1 is no longer in the policy"]


def test_before_there_is_a_policy_there_is_no_one_to_tell() -> None:
    world = a_world()

    assert tell(world, NOW) == Telling()
    assert world.alarms.published == []


def test_an_open_run_is_not_judged() -> None:
    world = a_world_after(degraded(22))
    remember(world, a_night(23, RunState.OPEN, us0=MISSING, eu0=MISSING))

    told = tell(world, NOW)

    assert told.troubles == 0


FAULTS = [TransientError("SNS is away"), PermanentError("no such topic")]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_sent_is_said_so_and_sent_by_a_later_tick(fault: EbbtideError) -> None:
    world = a_world_after(failed(23))
    world.alarms.fault = fault
    unsent = tell(world, NOW)
    world.alarms.fault = None

    at_once = tell(world, NOW + timedelta(minutes=1))
    later = tell(world, NOW + timedelta(minutes=5))

    assert {each.why for each in unsent.unsent} == {str(fault)}
    assert (unsent.sent, at_once.sent) == ((), ())
    assert len(later.sent) == len(unsent.unsent) == 2
    assert tell(world, NOW + timedelta(minutes=10)).sent == ()


def test_many_hosts_at_once_are_one_letter_and_each_is_remembered() -> None:
    names = [f"h{number:02}" for number in range(20)]
    statuses = {**dict.fromkeys(names, MISSING), "us0": COMPLETE}
    nights = [a_night(day, RunState.DEGRADED, **statuses) for day in (22, 23)]
    world = a_world_after(*nights, policy=a_policy_text("us0", *names))

    tell(world, NOW)
    tell(world, NOW)

    assert without_the_weekly(world) == ["missed: 20 messages"]
    assert sum(about.startswith("host/") for about in world.catalog.told) == 20


def a_policy_text(*names: str) -> str:
    """Of one receiver of these hosts."""
    head = A_POLICY_TEXT[: A_POLICY_TEXT.index("[host.us0]")].replace('["us0", "eu0"]', json.dumps(names))
    keys = (A_KEY.replace("A" * 43, f"{'A' * 39}{chr(97 + n)}AAA") for n in range(len(names)))
    hosts = (f'[host.{name}]\nid = "{name}a"\nkeys = ["{key}"]\n' for name, key in zip(names, keys, strict=True))
    return head + "\n".join(hosts)


# -- the ping ---------------------------------------------------------------------------------------------------------


def test_a_good_night_is_pinged_once() -> None:
    world = a_world_after(a_night(23), policy=WITH_PING)

    tell(world, NOW)
    tell(world, NOW + REPEAT)

    assert world.watch.pinged == [URL]


def test_without_an_address_nobody_is_pinged() -> None:
    world = a_world_after(a_night(23))

    tell(world, NOW)

    assert world.watch.pinged == []


def test_a_ping_that_fails_keeps_nothing_from_being_told_and_is_tried_again() -> None:
    world = a_world_after(a_night(23), policy=WITH_PING)
    world.watch.fault = TransientError("no answer")
    first = tell(world, NOW)
    world.watch.fault = None

    again = tell(world, NOW + TAKE_OVER)

    assert first.sent == ("weekly: all is well",)
    assert again.sent == ("run main/2026-11-23/1 is done and nothing is wrong",)
    assert world.watch.pinged == [URL]


# -- a teller that dies -----------------------------------------------------------------------------------------------


def a_world_with_much_to_tell() -> FakeWorld:
    """A host that has missed two nights, one whose alarm is over, and a run that failed."""
    world = a_world_after(degraded(20), degraded(21), policy=WITH_PING)
    tell(world, a_moment(9, day=21))
    remember(world, a_night(22))
    world.catalog.record_pruning(Pruning(NOW, "too many"))
    remember(world, failed(23))
    world.alarms.published.clear()
    return world


def tell_with_a_crash(world: FakeWorld, fuse: Fuse, now: datetime) -> None:
    try:
        tell(a_fused_world(world, fuse), now)
    except Crash:
        tell(world, now)
    tell(world, now + TAKE_OVER)


@pytest.mark.parametrize("after", [False, True])
def test_wherever_a_teller_dies_everything_is_told_and_only_what_was_in_flight_twice(after: bool) -> None:
    undisturbed = a_world_with_much_to_tell()
    tell(undisturbed, NOW)
    wanted = sorted(undisturbed.alarms.published)
    at = 0
    while True:
        at += 1
        world, fuse = a_world_with_much_to_tell(), Fuse(at, after)

        tell_with_a_crash(world, fuse, NOW)

        if not fuse.has_blown:
            break
        published = sorted(world.alarms.published)
        assert sorted(set(published)) == wanted, f"call {at}"
        assert len(published) - len(wanted) <= 1, f"call {at}"
        assert all(told.told for told in world.catalog.find_told()), f"call {at}"
        told_before = len(published)
        tell(world, NOW + TAKE_OVER)
        assert len(world.alarms.published) == told_before, f"call {at}"
    assert at > 10
    assert len(wanted) == 4


def test_of_two_tellers_at_once_one_tells() -> None:
    """The second one read the catalogue before the first one wrote."""
    world = a_world_after(failed(23))
    overtaken = replace(world, catalog=_OneReadLate(world))

    tell(world, NOW)
    told = tell(overtaken, NOW)

    assert told.sent == ()
    assert len(without_the_weekly(world)) == 1


def test_who_judges_by_older_facts_than_another_teller_says_nothing() -> None:
    """Between its two looks a good night closes, and another teller tells that all is well again."""
    world = a_world_after(degraded(22), degraded(23))
    tell(world, NOW)
    slow = replace(world, catalog=_Interrupted(world, lambda: _a_good_night_is_told(world)))

    tell(slow, NOW + REPEAT)

    assert without_the_weekly(world)[-1] == "host us0 is well again"


def _a_good_night_is_told(world: FakeWorld) -> None:
    remember(world, a_night(24))
    tell(world, NOW + REPEAT)


class _Interrupted:
    """A catalogue that something happens to after the nights were read, and before anything else is."""

    def __init__(self, world: FakeWorld, happens: Callable[[], None]) -> None:
        self._catalog = world.catalog
        self._happens = happens

    def find_pruning(self) -> Pruning | None:
        self._happens()
        return self._catalog.find_pruning()

    def __getattr__(self, name: str) -> object:
        return getattr(self._catalog, name)


class _OneReadLate:
    """A catalogue whose record of what was told is that of the beginning."""

    def __init__(self, world: FakeWorld) -> None:
        self._catalog = world.catalog
        self._before = world.catalog.find_told()

    def find_told(self) -> object:
        return self._before

    def __getattr__(self, name: str) -> object:
        return getattr(self._catalog, name)


def test_the_run_id_is_what_a_second_failure_is_told_by() -> None:
    world = a_world_after(failed(22))
    tell(world, a_moment(9, day=22))
    remember(world, failed(23))

    tell(world, NOW)

    told = [subject for subject in without_the_weekly(world) if subject.startswith("run failed")]
    assert [str(a_run_id(day)) in subject for day, subject in zip((22, 23), told, strict=True)] == [True, True]
