"""Pushes of one tree that are to be compared: in turns, each round beginning with another, processors counted."""

import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

SHARE = 0.01
_MOVED = re.compile(rb"Total bytes (?:sent|received): ([0-9]+)")

# Pushes once and returns what rsync's --stats said; uses of the receiving side's processors so far, in seconds.
Push = Callable[[], bytes]
Far = Callable[[], float]


@dataclass(frozen=True)
class Cost:
    """What one push took: seconds on the wall, seconds of processors on both sides, bytes on the wire."""

    wall: float
    processor: float
    wire: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} / {self.processor:.2f} / {self.wire / 2**20:.2f}"


@contextmanager
def a_copy_of(sources: Sequence[str]) -> Iterator[Path]:
    """A directory to work in; its `tree` is a copy of these trees, but for files above 2 MB, and is in memory."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-", dir="/var/tmp") as directory:
        place = Path(directory)
        (place / "tree").mkdir()
        for number, source in enumerate(sources):
            subprocess.run(["rsync", "-aHAX", "--max-size=2m", f"{source}/", f"{place}/tree/{number}/"], check=True)
        # From now on it is read from memory, by whoever comes first.
        subprocess.run(["tar", "-cf", "/dev/zero", "-C", str(place / "tree"), "."], check=True)
        yield place


def medians(many: int, far: Far, ways: Sequence[Push], edit: Callable[[int], None]) -> list[Cost]:
    """What each way cost, in the middle of so many rounds; before each of them the tree is edited."""
    found: list[list[Cost]] = [[] for _ in ways]
    for number in range(many):
        edit(number)
        for turn in range(len(ways)):
            which = (number + turn) % len(ways)
            found[which].append(_measured(far, ways[which]))
    return [
        Cost(median(c.wall for c in costs), median(c.processor for c in costs), median(c.wire for c in costs))
        for costs in found
    ]


def _measured(far: Far, push: Push) -> Cost:
    # What the push before this one wrote is on the disk.
    os.sync()
    before, begun = sum(os.times()[:4]) + far(), time.monotonic()
    out = push()
    wall = time.monotonic() - begun
    # The far side of an ssh that is over may still be tidying up.
    time.sleep(1)
    return Cost(wall, sum(os.times()[:4]) + far() - before, sum(map(int, _MOVED.findall(out))))


@contextmanager
def counted_apart(*processes: int) -> Iterator[Far]:
    """Have a control group count the seconds of processors that these and all that they start from now on use."""
    v1 = Path("/sys/fs/cgroup/cpuacct")
    group = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"ebbtide-bench-{os.getpid()}"
    group.mkdir()
    for process in processes:
        (group / "cgroup.procs").write_text(str(process))

    def used() -> float:
        if v1.is_dir():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        return int((group / "cpu.stat").read_text().split()[1]) / 1e6

    try:
        yield used
    finally:
        for inside in (group / "cgroup.procs").read_text().split():
            # One that ends meanwhile leaves it by itself.
            with suppress(ProcessLookupError):
                (group.parent / "cgroup.procs").write_text(inside)
        group.rmdir()


def change(tree: Path, seed: int) -> None:
    """One in a hundred of the files: most appended to, some written anew, some deleted, as many new."""
    chance = random.Random(seed)
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    for number, path in enumerate(chance.sample(files, int(len(files) * SHARE))):
        if number % 10 == 0:
            path.with_name(f"new-{seed}-{number}").write_bytes(chance.randbytes(4000))
            path.unlink()
        elif number % 10 == 1:
            path.write_bytes(chance.randbytes(path.stat().st_size))
        else:
            with path.open("ab") as file:
                file.write(chance.randbytes(200))


def forget(tree: Path, aside: Path) -> None:
    """Move what was pushed aside. Were it deleted, ext4 would step over its inodes, one by one, for minutes."""
    place = Path(tempfile.mkdtemp(dir=aside))
    for child in tree.iterdir():
        child.rename(place / child.name)


def size_of(tree: Path) -> str:
    entries = sum(len(found[1]) + len(found[2]) for found in os.walk(tree)) + 1
    return f"{entries} entries, {size_mib(tree)} MiB"


def size_mib(tree: Path) -> int:
    return int(subprocess.run(["du", "-sm", str(tree)], check=True, capture_output=True, text=True).stdout.split()[0])
