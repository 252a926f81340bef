"""Which restore point is meant, where an opened machine is, and how rsync's lists are read. Values in, values out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.commands import restore
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.address import Address, parse_address
from ebbtide_agent.host.bring import within
from ebbtide_agent.host.past import Item, Items, leading_to
from ebbtide_agent.host.restorable import CUT_SHORT, AtHand, Restorable, choose
from tests.unit.agent.test_course import A_CONFIG

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
POINTS = tuple(Restorable(name, "") for name in ("2026-11-22.1", "2026-11-23.1", "2026-11-23.2"))


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("newest", "2026-11-23.2"),
        ("2026-11-23.1", "2026-11-23.1"),
        ("2026-11-23", "2026-11-23.2"),
        ("2026-11-22", "2026-11-22.1"),
        ("2026-11", "2026-11-23.2"),
    ],
)
def test_a_point_is_meant_by_its_name_or_by_how_that_begins(wanted: str, name: str) -> None:
    assert choose(AtHand(POINTS), wanted).name == name


def test_what_is_not_whole_is_never_the_newest_and_can_be_named() -> None:
    mixed = Restorable("2026-11-24.1", "", doubt=CUT_SHORT)

    assert choose(AtHand((*POINTS, mixed)), "newest").name == "2026-11-23.2"
    assert choose(AtHand((*POINTS, mixed)), "2026-11").name == "2026-11-23.2"
    assert choose(AtHand((*POINTS, mixed)), "2026-11-24.1") == mixed
    for wanted in ("newest", "2026-11-24", "2"):
        with pytest.raises(PermanentError, match=r"--at 2026-11-24\.1 takes it all the same"):
            choose(AtHand((mixed,)), wanted)


def test_a_point_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(PermanentError, match=r"no restore point 2026-11-20; there are: 2026-11-22\.1, ") as refused:
        choose(AtHand(POINTS, ("ask the operator",)), "2026-11-20")

    assert "ask the operator" in str(refused.value)


def test_a_name_that_somebody_has_left_empty_is_not_the_newest() -> None:
    with pytest.raises(PermanentError, match=r"no restore point ''; there are: 2026-11-22\.1, "):
        choose(AtHand(POINTS), "")


def test_with_none_at_hand_it_says_what_to_do() -> None:
    with pytest.raises(PermanentError, match=r"no restore point .*\nask the operator"):
        choose(AtHand(notes=("ask the operator",)), "newest")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", Address("203.0.113.9")),
        ("203.0.113.9:2222", Address("203.0.113.9", 2222)),
        ("backup.example.org", Address("backup.example.org")),
        ("2001:db8::1", Address("2001:db8::1")),
        ("[2001:db8::1]", Address("2001:db8::1")),
        ("[2001:db8::1]:2222", Address("2001:db8::1", 2222)),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":22", "x:0", "x:65536", "x:port", "-oProxyCommand=x", "[]", "[::1]:"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("root", "path", "inside"),
    [
        ("/", b"/etc/nginx/", b"etc/nginx"),
        ("/", b"/", b"."),
        ("/srv/tree", b"/srv/tree/a\xff", b"a\xff"),
        ("/srv/tree", b"/srv/tree", b"."),
        ("/", b"//etc//./x", b"etc/x"),
    ],
)
def test_a_path_is_found_within_the_tree(root: str, path: bytes, inside: bytes) -> None:
    assert within(Path(root), [path, path]) == (inside,)


@pytest.mark.parametrize(
    ("root", "path"), [("/", b"etc"), ("/", b"/etc/../x"), ("/srv/tree", b"/srv/trees"), ("/srv/tree", b"/srv")]
)
def test_a_path_that_was_never_backed_up_is_refused(root: str, path: bytes) -> None:
    with pytest.raises(ValueError, match="is not"):
        within(Path(root), [path])


def test_rsyncs_items_are_read_in_any_pieces() -> None:
    said = (
        b"rsync: noise\n>f+++++++++ etc/new\\#012line\ncd+++++++++ etc/\ncL+++++++++ lib\n*deleting   etc/gone\n"
        b".d..t...... ./\n.f...p..... bad\xff\n"
    )
    whole, pieces = Items(), Items()

    whole.feed(said)
    for at in range(len(said)):
        pieces.feed(said[at : at + 1])

    assert pieces.found == whole.found
    assert [item.path for item in whole.found] == [b"etc/new\nline", b"etc", b"lib", b"etc/gone", b".", b"bad\xff"]
    assert [item.kind for item in whole.found[:3]] == ["f", "d", "L"]
    assert whole.found[3] == Item("*deleting  ", b"etc/gone")


def test_what_leads_to_a_path() -> None:
    assert list(leading_to(b"etc/nginx/x")) == [b"etc", b"etc/nginx"]
    assert list(leading_to(b"etc")) == []


@pytest.mark.parametrize(
    ("at_hand", "patience"),
    [
        (AtHand(until=NOW - timedelta(days=1), left=timedelta(minutes=5)), timedelta(minutes=5)),
        (AtHand(until=NOW + timedelta(days=1), left=timedelta(hours=1)), timedelta(minutes=30)),
        (AtHand(until=NOW + timedelta(minutes=7)), timedelta(minutes=7)),
        (AtHand(), timedelta(minutes=30)),
    ],
    ids=["whatever the time is here", "no longer than a night", "an earlier gate", "a place that does not close"],
)
def test_a_restore_tries_as_long_as_somebody_is_there(at_hand: AtHand, patience: timedelta) -> None:
    config = replace(A_CONFIG, wait_seconds=1800.0)

    assert restore._until(config, at_hand, NOW) == NOW + patience
