"""Random trees as values: names, and the inodes behind them, as an index and a scan would tell of them."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from hypothesis import strategies as some

from ebbtide_agent.host.changes import LARGE_BYTES
from ebbtide_agent.host.index import DEVICE, STAT, Block, walk_key

DIRECTORY, FILE, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


@dataclass(frozen=True)
class Inode:
    """What every name of it shows. `version` stands for content and attributes: a change gives it another ctime."""

    number: int
    mode: int
    size: int
    version: int


Tree = Mapping[bytes, Inode]

_NAMES = [b"a", b"b", b"a.b", b"c\n", b"\xff"]
_INODES = some.builds(
    Inode,
    number=some.integers(1, 6),
    mode=some.sampled_from([FILE, FILE, LINK]),
    size=some.sampled_from([0, 7, LARGE_BYTES, LARGE_BYTES + 1]),
    version=some.integers(1, 3),
)


@some.composite
def trees(draw: some.DrawFn) -> Tree:
    """A tree whose inodes are the same for every name, drawn from so few that two trees share most of them."""
    inodes = {inode.number: inode for inode in draw(some.lists(_INODES, min_size=1, max_size=6))}
    tree = {b"": Inode(100, DIRECTORY, 0, draw(some.integers(1, 2)))}
    _fill(draw, tree, b"", list(inodes.values()), depth=0)
    return tree


def _fill(draw: some.DrawFn, tree: dict[bytes, Inode], prefix: bytes, inodes: list[Inode], depth: int) -> None:
    for name in draw(some.lists(some.sampled_from(_NAMES), unique=True, max_size=4)):
        path = prefix + name
        if depth < 3 and draw(some.booleans()):
            tree[path] = Inode(100 + len(tree), DIRECTORY, 0, draw(some.integers(1, 2)))
            _fill(draw, tree, path + b"/", inodes, depth + 1)
        else:
            tree[path] = draw(some.sampled_from(inodes))


def names_of(tree: Tree) -> dict[tuple[int, int], list[bytes]]:
    """By device and inode, as a scan gathers them."""
    names: dict[tuple[int, int], list[bytes]] = {}
    for path in in_order(tree):
        if tree[path].mode != DIRECTORY:
            names.setdefault((1, tree[path].number), []).append(path)
    return names


def blocks(tree: Tree, most: int = 2) -> list[Block]:
    """As a scan finds them, at most so many entries in one."""
    names = names_of(tree)
    stats = {path: stat_of(tree[path], links=len(names.get((1, tree[path].number), [path]))) for path in tree}
    by_directory = groupby(in_order(tree), key=lambda path: path.rpartition(b"/")[0])
    return [a_block(directory, part, stats) for directory, paths in by_directory for part in _parts(list(paths), most)]


def a_block(directory: bytes, paths: Sequence[bytes], stats: Mapping[bytes, bytes]) -> Block:
    names = b"\0".join(path.rpartition(b"/")[2] for path in paths)
    return Block(directory, names, b"".join(stats[path] for path in paths), DEVICE.pack(1))


def stat_of(inode: Inode, links: int = 1) -> bytes:
    # The kernel counts a new or lost name as a change of the inode.
    return STAT.pack(inode.mode, 0, 0, links, inode.size, 5, inode.version * 1000 + links, inode.number)


def _parts(paths: list[bytes], most: int) -> Iterator[list[bytes]]:
    return (paths[at : at + most] for at in range(0, len(paths), most))


def in_order(tree: Tree) -> list[bytes]:
    return sorted(tree, key=walk_key)
