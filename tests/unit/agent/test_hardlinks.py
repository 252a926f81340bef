"""Which names are one file: found in a tree; and two trees have the same when their digests say so, and only then."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.hardlinks import digest_of, find_groups

_NAMES = some.sampled_from([b"a", b"b", b"a/b", b"c\n", b"\xff"])
_GROUPS = some.lists(some.lists(_NAMES, min_size=2, max_size=3, unique=True), max_size=3)


@given(one=_GROUPS, other=_GROUPS)
def test_the_digest_is_of_the_groups_and_of_no_order(one: list[list[bytes]], other: list[list[bytes]]) -> None:
    alike = sorted(map(sorted, one)) == sorted(map(sorted, other))

    assert (digest_of(one) == digest_of(other)) == alike
    assert digest_of(one) == digest_of([list(reversed(group)) for group in reversed(one)])


def test_the_names_of_a_file_are_found_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("one", "a/alone", "two"):
        (tmp_path / name).touch()
    os.link(tmp_path / "one", tmp_path / "a/b/one")
    os.link(tmp_path / "one", tmp_path / "a/uno")
    (tmp_path / "a/link").symlink_to("b")
    os.link(tmp_path / "a/link", tmp_path / "link", follow_symlinks=False)

    groups = {tuple(sorted(names)) for names in find_groups(tmp_path)}

    assert groups == {(b"a/b/one", b"a/uno", b"one"), (b"a/link", b"link")}
