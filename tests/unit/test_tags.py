"""Tags: the ids of 500 hosts travel on one snapshot within EC2's limits, and come back as they went."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import tags
from chalicelib.core.ids import HOST_ID
from chalicelib.core.model import RunId, TreeKind
from chalicelib.errors import PermanentError

MOST_TAGS, LONGEST_KEY, LONGEST_VALUE = 50, 128, 256

host_ids = st.from_regex(HOST_ID, fullmatch=True)
LONGEST_RUN = RunId("m" * 31, date(2026, 11, 23), 999_999_999)


def ids(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


@given(st.lists(host_ids))
def test_packed_ids_come_back_once_each_and_sorted(packed: list[str]) -> None:
    assert tags.unpack(tags.pack(packed)) == tuple(sorted(set(packed)))


@given(st.integers(0, tags.MOST_HOSTS), st.sampled_from(TreeKind), st.sampled_from(tags.Consistency))
def test_any_number_of_hosts_stays_within_ec2s_limits(count: int, tree: TreeKind, how: tags.Consistency) -> None:
    written = tags.snapshot_tags(LONGEST_RUN, ids(count), tree, how)
    later = {tags.HOLD: "x" * LONGEST_VALUE, tags.MARKED: "2026-11-23"}

    assert len(written | later) <= MOST_TAGS
    assert all(len(key) <= LONGEST_KEY and not key.startswith("aws:") for key in written)
    assert all(len(value) <= LONGEST_VALUE for value in written.values())
    assert tags.unpack(written) == tuple(ids(count))


def test_five_hundred_hosts_fit_and_a_513th_is_refused_rather_than_dropped() -> None:
    assert len(tags.unpack(tags.pack(ids(500)))) == 500

    with pytest.raises(PermanentError, match="513 hosts do not fit"):
        tags.pack(ids(513))


def test_packing_does_not_depend_on_the_order_of_the_hosts() -> None:
    assert tags.pack(["us0a", "eu0a"]) == tags.pack(["eu0a", "us0a", "eu0a"]) == {"ebbtide:complete.0": "eu0aus0a"}


def test_no_complete_host_needs_no_tag() -> None:
    assert tags.pack([]) == {}
    assert tags.unpack({"Name": "something else"}) == ()


@pytest.mark.parametrize("value", ["us0", "us0aeu", "US0A", "us0a eu0"])
def test_a_damaged_tag_is_an_error_and_never_a_shorter_list(value: str) -> None:
    with pytest.raises(PermanentError, match="no host id"):
        tags.unpack({"ebbtide:complete.0": value})


@pytest.mark.parametrize("bad", ["us0", "us0ab", "", "Us0a"])
def test_only_host_ids_are_packed(bad: str) -> None:
    with pytest.raises(PermanentError, match="no host id"):
        tags.pack(["us0a", bad])


def test_a_snapshot_says_everything_a_rebuild_needs() -> None:
    run = RunId("main", date(2026, 11, 23), 1)

    written = tags.snapshot_tags(run, ["us0a"], TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)

    assert written == {
        "Name": "ebbtide main/2026-11-23/1",
        "ebbtide:schema": "1",
        "ebbtide:role": "backup",
        "ebbtide:receiver": "main",
        "ebbtide:run": "main/2026-11-23/1",
        "ebbtide:tree": "fake-super",
        "ebbtide:consistency": "released",
        "ebbtide:complete.0": "us0a",
    }
