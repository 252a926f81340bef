"""Nothing is told twice, nothing that stands is forgotten, and what ends is told once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.advice import Kind
from chalicelib.core.alarms import Trouble
from chalicelib.core.telling import (
    LOCKS,
    LOST,
    MOST_LETTERS,
    MOST_PER_LETTER,
    REPEAT,
    TAKE_OVER,
    WEEKLY,
    Message,
    Told,
    bundles,
    claim,
    find_untold,
    letter,
)
from tests.builders import a_moment

NOW = a_moment(7)
MOMENT = timedelta(seconds=1)
SUBJECTS = {"host/us0a", "host/eu0a", "receiver/main"}


def a_trouble(about: str = "host/us0a", occurrence: str = "missed", since: datetime = NOW) -> Trouble:
    return Trouble(about, Kind.MISSED, "host us0", "host us0 was not complete", since, occurrence, ("main: missing",))


def tell(known: dict[str, Told], troubles: Iterable[Trouble], now: datetime) -> list[Message]:
    """What is due, told at once and remembered in `known`."""
    due = find_untold(list(troubles), known, SUBJECTS, now)
    known.update({message.about: replace(claim(message, now), told=now) for message in due})
    return list(due)


def test_a_trouble_is_told_with_what_since_when_and_what_to_do() -> None:
    (message,) = tell({}, [a_trouble()], NOW)

    assert message.subject == "missed: host us0 was not complete"
    assert message.body.splitlines()[:3] == [
        "host us0 was not complete",
        "  main: missing",
        "since: 2026-11-23 07:00 UTC",
    ]
    assert message.body.splitlines()[3].startswith("what to do: Look at the agent's log")


def test_what_stands_is_told_again_after_about_a_day_with_its_first_since() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble()], NOW)

    sooner = tell(known, [a_trouble(since=NOW + REPEAT)], NOW + REPEAT - MOMENT)
    later = tell(known, [a_trouble(since=NOW + REPEAT)], NOW + REPEAT)

    assert sooner == []
    assert [message.since for message in later] == [NOW]


def test_another_occurrence_is_told_at_once() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble(occurrence="main/2026-11-22/1")], NOW)

    again = tell(known, [a_trouble(occurrence="main/2026-11-23/1", since=NOW + MOMENT)], NOW + MOMENT)

    assert [message.since for message in again] == [NOW + MOMENT]


def test_what_ends_is_told_once() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble()], NOW)

    ended = tell(known, [], NOW + MOMENT)
    much_later = tell(known, [], NOW + 10 * REPEAT)

    assert [message.subject for message in ended] == ["host us0 is well again"]
    assert much_later == []


def test_locks_that_cannot_be_taken_back_any_more_are_not_well_again() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble(LOCKS)], NOW)

    (ended,) = tell(known, [], NOW + MOMENT)

    assert ended.body.startswith("locks of copies are told of no more: what nobody has taken back in time holds")


def test_what_is_lost_is_never_well_again() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble(LOST)], NOW)

    (ended,) = tell(known, [], NOW + MOMENT)

    assert ended.body.startswith("no more snapshots are gone: those that are do not come back")


def test_what_comes_back_is_told_again() -> None:
    known: dict[str, Told] = {}
    for now, troubles in ((NOW, [a_trouble()]), (NOW + MOMENT, [])):
        tell(known, troubles, now)

    again = tell(known, [a_trouble(since=NOW + 2 * MOMENT)], NOW + 2 * MOMENT)

    assert [(message.is_well, message.since) for message in again] == [(False, NOW + 2 * MOMENT)]


def test_who_left_the_policy_is_not_called_well() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble("host/gone")], NOW)

    ended = tell(known, [], NOW + MOMENT)

    assert [message.subject for message in ended] == ["host us0 is no longer in the policy"]


def test_a_claim_is_respected_for_a_while_and_then_taken_over() -> None:
    (message,) = find_untold([a_trouble()], {}, SUBJECTS, NOW)
    known = {message.about: replace(claim(message, NOW), version=1)}

    respected = find_untold([a_trouble()], known, SUBJECTS, NOW + TAKE_OVER - MOMENT)
    taken_over = find_untold([a_trouble()], known, SUBJECTS, NOW + TAKE_OVER)

    assert respected == ()
    assert taken_over == (replace(message, version=1),)


def test_a_claim_of_what_has_ended_meanwhile_is_taken_over_as_its_end() -> None:
    """Whether it was sent nobody knows: so the end is told."""
    (message,) = find_untold([a_trouble()], {}, SUBJECTS, NOW)

    (ended,) = find_untold([], {message.about: claim(message, NOW)}, SUBJECTS, NOW + TAKE_OVER)

    assert ended.is_well


def test_an_end_that_could_not_be_told_is_told_later() -> None:
    known: dict[str, Told] = {}
    tell(known, [a_trouble()], NOW)
    tell(known, [], NOW + MOMENT)
    unsent = {about: replace(told, told=None) for about, told in known.items()}

    (ended,) = find_untold([], unsent, SUBJECTS, NOW + MOMENT + TAKE_OVER)

    assert ended.is_well


def test_the_regular_letters_are_never_over() -> None:
    weekly = Told(WEEKLY, "2026-11-23", "the weekly letter", "all is well", True, NOW, NOW)

    assert find_untold([], {WEEKLY: weekly}, SUBJECTS, NOW + TAKE_OVER) == ()


HISTORY = st.lists(
    st.tuples(st.sets(st.sampled_from(sorted(SUBJECTS))), st.sampled_from("ab"), st.integers(0, 30)), max_size=12
)


@given(HISTORY)
def test_asked_again_about_the_same_there_is_nothing_more_to_tell(history: Sequence[tuple[set[str], str, int]]) -> None:
    known: dict[str, Told] = {}
    now = NOW
    for standing, occurrence, hours in history:
        now += timedelta(hours=hours)
        troubles = [a_trouble(about, occurrence) for about in standing]

        tell(known, troubles, now)

        assert find_untold(troubles, known, SUBJECTS, now) == ()
        assert {about for about, told in known.items() if not told.is_well} == standing


@given(HISTORY)
def test_every_end_follows_a_beginning(history: Sequence[tuple[set[str], str, int]]) -> None:
    known: dict[str, Told] = {}
    open_now: set[str] = set()
    now = NOW
    for standing, occurrence, hours in history:
        now += timedelta(hours=hours)
        for message in tell(known, [a_trouble(about, occurrence) for about in standing], now):
            assert not message.is_well or message.about in open_now
            (open_now.discard if message.is_well else open_now.add)(message.about)


# -- letters ----------------------------------------------------------------------------------------------------------


def some_messages(count: int) -> tuple[Message, ...]:
    return find_untold([a_trouble(f"host/{number:04}") for number in range(count)], {}, SUBJECTS, NOW)


def test_a_few_are_a_letter_each_and_many_of_a_kind_are_one() -> None:
    few, many = bundles(some_messages(MOST_LETTERS)), bundles(some_messages(MOST_LETTERS + 1))

    assert [len(each) for each in few] == [1] * MOST_LETTERS
    assert [len(each) for each in many] == [MOST_LETTERS + 1]


def test_a_letter_of_many_tells_each_of_them() -> None:
    written = letter(some_messages(7))

    assert written.subject == "missed: 7 messages"
    assert written.body.count("host us0 was not complete\n") == 7


def test_thousands_are_told_in_letters_of_a_bounded_size() -> None:
    letters = bundles(some_messages(10 * MOST_PER_LETTER + 1))

    assert [len(each) for each in letters] == [MOST_PER_LETTER] * 10 + [1]


@given(st.integers(0, 20), st.integers(0, 20))
def test_every_message_is_in_one_letter(raised: int, ended: int) -> None:
    told = {f"host/{n}": replace(claim(m, NOW), told=NOW) for n, m in enumerate(some_messages(ended))}
    known = {about: replace(each, about=about) for about, each in told.items()}
    messages = (*some_messages(raised), *find_untold([], known, SUBJECTS, NOW))

    lettered = [message for together in bundles(messages) for message in together]

    assert sorted(lettered, key=str) == sorted(messages, key=str)
