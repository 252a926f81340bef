"""The lists of a push: given to an rsync that does to a model what rsync does, they make the old tree the new one."""

import stat
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ebbtide_agent.host import changes
from ebbtide_agent.host.changes import (
    LARGE_BYTES,
    Changes,
    as_list,
    distrusted,
    find_changes,
    find_suspects,
    with_what_leads_to,
)
from ebbtide_agent.host.index import STAT, Entry, as_young
from tests.unit.agent.trees import DIRECTORY, FILE, LINK, Inode, Tree, a_block, blocks, names_of, trees

TOP = Inode(100, DIRECTORY, 0, 1)


class Store:
    """The receiver's tree: names, each with a cell that other names may share."""

    def __init__(self, tree: Tree) -> None:
        cells = {inode: [inode] for inode in tree.values()}
        self.names = {path: cells[inode] for path, inode in tree.items()}

    def delete(self, path: bytes, may_be_gone: bool = False) -> None:
        assert may_be_gone or path in self.names, f"{path!r} is not there: rsync would end with 23 or 24"
        for each in [each for each in self.names if each == path or each.startswith(path + b"/")]:
            del self.names[each]

    def push(self, paths: Iterable[bytes], source: Tree) -> None:
        """Regular files are written anew; of others rsync leaves what looks right, with whatever is linked to it."""
        new: dict[int, list[Inode]] = {}
        for path in paths:
            inode = source[path]
            old = self.names.get(path)
            if inode.mode == LINK and old and old[0] == inode and inode.number not in new:
                new[inode.number] = old
            elif inode.mode == DIRECTORY:
                assert old is None or old[0].mode == DIRECTORY
            else:
                assert old is None or old[0].mode != DIRECTORY
            self.names[path] = new.setdefault(inode.number, [inode])

    def push_in_place(self, paths: Iterable[bytes], source: Tree) -> None:
        for path in paths:
            self.names[path][0] = source[path]

    def as_tree(self) -> dict[bytes, tuple[Inode, frozenset[bytes]]]:
        cells: dict[int, set[bytes]] = {}
        for path, cell in self.names.items():
            cells.setdefault(id(cell), set()).add(path)
        return {path: (cell[0], frozenset(cells[id(cell)])) for path, cell in self.names.items()}


def found(old: Tree, new: Tree, links_agree: bool = True) -> Changes:
    changes = find_changes(blocks(old), blocks(new), names_of(new), links_agree)
    assert changes is not None
    return changes


def a_tree(**inodes: Inode) -> Tree:
    return {b"": TOP, **{name.replace("_", "/").encode(): inode for name, inode in inodes.items()}}


@settings(max_examples=300, deadline=None)
@given(old=trees(), new=trees())
def test_a_push_of_the_changes_makes_the_store_of_the_old_tree_the_new_one(old: Tree, new: Tree) -> None:
    store = Store(old)
    changes = found(old, new)

    for path in changes.gone:
        store.delete(path)
    store.push(changes.changed, new)
    store.push_in_place(changes.in_place, new)

    assert store.as_tree() == Store(new).as_tree()


@settings(deadline=None)
@given(old=trees(), pushed=trees(), new=trees(), numbers=some.sets(some.integers(0, 9)))
def test_after_a_push_that_missed_what_vanished_the_store_becomes_what_is_found_then(
    old: Tree, pushed: Tree, new: Tree, numbers: set[int]
) -> None:
    store, changes = Store(old), found(old, pushed)
    listed = [path for path in (*changes.changed, *changes.in_place) if path]
    vanished = {listed[number] for number in numbers if number < len(listed)}
    missed = {path for path in listed if any((path + b"/").startswith(each + b"/") for each in vanished)}

    for path in changes.gone:
        store.delete(path)
    store.push((path for path in changes.changed if path not in missed), pushed)
    store.push_in_place((path for path in changes.in_place if path not in missed), pushed)
    again = find_changes(distrusted(blocks(pushed), missed), blocks(new), names_of(new), links_agree=True)

    assert again is not None
    for path in again.gone:
        store.delete(path, may_be_gone=True)
    store.push(again.changed, new)
    store.push_in_place(again.in_place, new)
    assert store.as_tree() == Store(new).as_tree()


def test_what_may_have_come_or_gone_meanwhile_is_not_trusted_and_neither_is_what_is_below_it() -> None:
    file, directory = Inode(1, FILE, LARGE_BYTES, 1), Inode(101, DIRECTORY, 0, 1)
    tree = a_tree(a=directory, a_x=file, ab=Inode(2, FILE, LARGE_BYTES, 1), c=Inode(3, FILE, LARGE_BYTES, 1))

    again = find_changes(distrusted(blocks(tree), {b"a", b"c"}), blocks(tree), names_of(tree), links_agree=True)

    assert again == Changes((), (b"a", b"c", b"a/x"), ())


@given(old=trees(), new=trees())
def test_a_link_of_which_nobody_knows_is_never_written_through(old: Tree, new: Tree) -> None:
    """The store has all files of equal content linked; whatever is pushed becomes what it is in the source."""
    store = Store({path: Inode(inode.mode, inode.mode, 0, 0) for path, inode in old.items()})
    changes = found(old, new, links_agree=False)

    for path in changes.gone:
        store.delete(path)
    store.push(changes.changed, new)

    assert changes.in_place == ()
    assert all(store.names[path][0] == new[path] for path in changes.changed if new[path].mode != DIRECTORY)


@given(tree=trees())
def test_of_a_tree_that_did_not_change_nothing_is_pushed(tree: Tree) -> None:
    assert found(tree, tree) == Changes((), (), ())


def test_of_a_subtree_that_is_gone_only_the_top_is_named() -> None:
    inner = Inode(1, FILE, 5, 1)
    old = a_tree(a=Inode(101, DIRECTORY, 0, 1), a_x=inner, a_y=Inode(102, DIRECTORY, 0, 1), a_y_z=inner, b=inner)

    changes = found(old, a_tree(b=inner))

    assert changes.gone == (b"a",)


@pytest.mark.parametrize(
    ("before", "after"),
    [(LARGE_BYTES, LARGE_BYTES), (0, LARGE_BYTES), (LARGE_BYTES + 1, LARGE_BYTES)],
)
def test_a_large_file_with_one_name_is_changed_in_place(before: int, after: int) -> None:
    changes = found(a_tree(log=Inode(1, FILE, before, 1)), a_tree(log=Inode(1, FILE, after, 2)))

    assert (changes.changed, changes.in_place) == ((), (b"log",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (a_tree(log=Inode(1, FILE, LARGE_BYTES, 1)), a_tree(log=Inode(1, FILE, LARGE_BYTES - 1, 2))),
        (a_tree(), a_tree(log=Inode(1, FILE, LARGE_BYTES, 1))),
        (
            a_tree(log=Inode(1, FILE, LARGE_BYTES, 1), two=Inode(1, FILE, LARGE_BYTES, 1)),
            a_tree(log=Inode(1, FILE, LARGE_BYTES, 2)),
        ),
        (
            a_tree(log=Inode(1, FILE, LARGE_BYTES, 1)),
            a_tree(log=Inode(1, FILE, LARGE_BYTES, 2), two=Inode(1, FILE, LARGE_BYTES, 2)),
        ),
    ],
    ids=["it became small", "it is new", "it had another name", "it has another name"],
)
def test_any_other_is_written_anew(old: Tree, new: Tree) -> None:
    changes = found(old, new)

    assert b"log" in changes.changed and changes.in_place == ()


def test_what_changed_too_lately_to_be_sure_of_changed() -> None:
    young = a_block(b"", [b"a"], {b"a": STAT.pack(FILE, 0, 0, 1, 5, 5, as_young(5), 1)})

    changes = find_changes([young], [young._replace(settled=False)], {}, True)

    assert changes == Changes((), (b"a",), ())


def test_of_what_was_young_in_both_scans_of_one_night_only_that_changed_which_looks_different() -> None:
    before, after = (
        a_block(b"", [b"a", b"b"], {b"a": young_of(5), b"b": young_of(b_changed)})._replace(settled=False)
        for b_changed in (5, 6)
    )

    changes = find_changes([before], [after], {}, True, of_one_night=True)

    assert changes == Changes((), (b"b",), ())


def young_of(ctime: int) -> bytes:
    return STAT.pack(FILE, 0, 0, 1, 5, 5, as_young(ctime), 1)


def test_a_name_that_was_looked_at_before_the_others_changed_goes_with_them() -> None:
    before, after = (STAT.pack(LINK, 0, 0, 2, 5, 5, ctime, 1) for ctime in (1, 2))
    old = a_block(b"", [b"a", b"b"], {b"a": before, b"b": before})
    new = a_block(b"", [b"a", b"b"], {b"a": before, b"b": after})

    changes = find_changes([old], [new], {(1, 1): [b"a", b"b"]}, True)

    assert changes and sorted(changes.gone) == sorted(changes.changed) == [b"a", b"b"]


def test_too_many_changes_are_no_list_and_the_scan_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_CHANGES", 3)
    tree = {b"": TOP, **{b"%d" % number: Inode(number, stat.S_IFREG, 1, 1) for number in range(9)}}
    scanned = blocks(tree)
    read = iter(scanned)

    assert find_changes([], read, {}, True) is None
    assert list(read) == []


def test_a_list_ends_every_path_and_leads_to_it_from_the_root() -> None:
    assert as_list([b"a\nb", b"-c/d"]) == b"./a\nb\0./-c/d\0"


def entries(tree: Tree) -> list[Entry]:
    return [entry for block in blocks(tree) for entry in block.entries()]


def suspects(tree: Tree) -> list[Changes]:
    return list(find_suspects(lambda: entries(tree)))


def test_many_suspects_come_in_parts_with_all_names_of_a_file_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SUSPECTS_OF_A_PART", 20)
    pairs = [(Inode(2 * size, FILE, size, 1), Inode(2 * size + 1, FILE, size, 1)) for size in range(1, 100)]
    files = [inode for pair in pairs for inode in pair]
    tree = {b"": TOP, **{b"%d %d" % (name, file.number): file for name in range(2) for file in files}}

    parts = [part.changed for part in suspects(tree)]

    assert sorted(path for part in parts for path in part) == sorted(set(tree) - {b""})
    assert len(parts) == 20 and max(map(len, parts)) < 50
    for part in parts:
        assert {path[2:] for path in part if path[:1] == b"0"} == {path[2:] for path in part if path[:1] == b"1"}


def test_two_files_that_rsync_takes_for_one_are_suspect_with_all_their_names() -> None:
    one, other, third = Inode(1, FILE, 5, 1), Inode(2, FILE, 5, 2), Inode(3, FILE, 6, 1)
    link, another = Inode(4, LINK, 5, 1), Inode(5, LINK, 5, 1)

    (found,) = suspects(a_tree(a=one, b=one, c=other, d=third, e=third, f=link, g=another))

    assert found == Changes((b"f", b"g"), (b"a", b"b", b"c", b"f", b"g"), ())


def test_a_symlink_of_another_time_may_be_the_same_and_a_file_of_another_time_is_none() -> None:
    kinds = {b"file": FILE, b"link": LINK}
    seen = [
        Entry(name + b"%d" % time, STAT.pack(kind, 0, 0, 1, 5, time, 1, time), 1)
        for name, kind in kinds.items()
        for time in (1, 2)
    ]

    (found,) = find_suspects(lambda: seen)

    assert found == Changes((b"link1", b"link2"), (b"link1", b"link2"), ())


def test_the_names_of_one_file_and_directories_are_not_suspect() -> None:
    one = Inode(1, FILE, 5, 1)

    assert suspects(a_tree(a=one, b=one, d=TOP, e=TOP)) == []


@given(tree=trees())
def test_with_the_suspects_anew_no_two_files_are_linked_whatever_a_full_push_left_linked(tree: Tree) -> None:
    """In the store every two files that look the same are one."""
    store = Store(tree)
    looks = {path: (inode.mode, inode.size) for path, inode in tree.items() if inode.mode != DIRECTORY}
    cells = {look: [tree[path]] for path, look in looks.items()}
    store.names.update({path: cells[look] for path, look in looks.items()})

    for found in suspects(tree):
        for path in found.gone:
            store.delete(path)
        store.push(found.changed, tree)

    assert store.as_tree() == Store(tree).as_tree()


def test_what_is_to_be_written_anew_is_changed_in_place_no_more() -> None:
    changes = Changes((b"x",), (b"new-link",), (b"large", b"log"))

    both = changes.and_also(Changes((b"link", b"new-link"), (b"large", b"link", b"new-link"), ()))

    assert both == Changes((b"x", b"link"), (b"new-link", b"large", b"link"), (b"log",))


@given(some.lists(some.lists(some.sampled_from([b"a", b"a.b", b"c"]), min_size=1, max_size=4).map(b"/".join)))
def test_every_directory_that_leads_to_a_path_comes_once_and_before_it(paths: list[bytes]) -> None:
    listed = list(with_what_leads_to(paths))

    above = {path[:at] for path in paths for at in range(len(path)) if path[at : at + 1] == b"/"}
    assert sorted(listed) == sorted(above.union(paths))
    assert all(path.rpartition(b"/")[0] in (b"", *listed[:at]) for at, path in enumerate(listed))
