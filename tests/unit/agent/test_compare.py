"""Whatever differs between two trees is named; what does not is not."""

from dataclasses import replace

import pytest

from ebbtide_agent.entry import Entry
from ebbtide_agent.restore.compare import MOST_FINDINGS, compare


def an_entry(path: bytes = b"a", **changes: object) -> Entry:
    entry = Entry(path, "f", 0o644, 1, 2, 3, 4, xattrs={"user.note": b"n"}, sha256="11")
    return replace(entry, **changes)  # type: ignore[arg-type]


def test_equal_trees_are_identical() -> None:
    tree = [an_entry(b"a"), an_entry(b"b")]

    comparison = compare(tree, tree)

    assert comparison.identical
    assert comparison.entries == 2
    assert comparison.findings == ()


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"kind": "d"}, "a: kind: expected f, found d"),
        ({"mode": 0o4755}, "a: mode: expected 0644, found 4755"),
        ({"uid": 0}, "a: owner: expected 1:2, found 0:2"),
        ({"gid": 0}, "a: owner: expected 1:2, found 1:0"),
        ({"size": 9}, "a: size: expected 3, found 9"),
        ({"mtime_ns": 5}, "a: mtime: expected 4 ns, found 5 ns"),
        ({"xattrs": {}}, "a: attribute user.note: expected 6e, found none"),
        ({"xattrs": {"user.note": b""}}, "a: attribute user.note: expected 6e, found "),
        ({"xattrs": {"user.note": b"n", "user.x": b"x"}}, "a: attribute user.x: expected none, found 78"),
        ({"link": b"there"}, "a: target: expected none, found there"),
        ({"rdev": (1, 3)}, "a: device: expected none, found 1,3"),
        ({"group": b"a"}, "a: hard link of: expected none, found a"),
        ({"sha256": "22"}, "a: content: expected sha256 11, found 22"),
    ],
)
def test_an_attribute_that_differs_is_named(changes: dict[str, object], finding: str) -> None:
    comparison = compare([an_entry()], [an_entry(**changes)])

    assert not comparison.identical
    assert comparison.different == 1
    assert comparison.findings == (finding,)


def test_missing_and_extra_entries_are_named() -> None:
    comparison = compare([an_entry(b"a"), an_entry(b"b")], [an_entry(b"b"), an_entry(b"c")])

    assert (comparison.missing, comparison.extra, comparison.different) == (1, 1, 0)
    assert comparison.findings == ("a: missing", "c: extra, not in the manifest")


@pytest.mark.fault("O8")
def test_an_empty_tree_is_not_identical_to_anything() -> None:
    comparison = compare([an_entry(b"a")], [])

    assert not comparison.identical


@pytest.mark.parametrize(("before", "after"), [(None, "11"), ("11", None), (None, None)])
def test_a_file_without_a_hash_is_unproven_not_different(before: str | None, after: str | None) -> None:
    comparison = compare([an_entry(sha256=before)], [an_entry(sha256=after)])

    assert comparison.identical
    assert comparison.unhashed == 1


def test_where_a_tree_is_kept_is_no_difference() -> None:
    assert compare([an_entry(store=(1, 2))], [an_entry(store=None)]).identical


def test_findings_are_bounded_and_counts_are_not() -> None:
    many = [an_entry(b"%04d" % number) for number in range(200)]

    comparison = compare(many, [])

    assert comparison.missing == 200
    assert len(comparison.findings) == MOST_FINDINGS


@pytest.mark.parametrize("path", [b"\x1b[2J", b"new\nline", b"\xff", "\u202egnp".encode(), b"a\\b", b"x" * 4000])
def test_a_path_cannot_act_on_a_terminal(path: bytes) -> None:
    (finding,) = compare([an_entry(path)], []).findings

    assert finding.isprintable()
    assert len(finding) < 400


def test_entries_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="out of order"):
        compare([an_entry(b"b"), an_entry(b"a")], [an_entry(b"a"), an_entry(b"b")])
