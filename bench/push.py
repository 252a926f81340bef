"""A push by the index against plain rsync, through a real sshd, gate and confined rsync.

`PYTHONPATH=agent python -m bench.push TREE [TREE ...]` copies the trees (but for files above 2 MB) and pushes the copy
twice: for host us0 as the agent does, for host eu0 by the plain rsync that everyone would use. Both go the same way to
the same receiver, with the same cipher, in turns, each round in the other order. The report is not sent: writing the
manifest, with a hash for every file, comes on top of both. Needs root.
"""

import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.host import ciphers, survey
from ebbtide_agent.host.ahead import scanning
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.push import Watch, push
from ebbtide_agent.host.way import open_way
from ebbtide_agent.moments import read
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import COMPLETE, FAKE_SUPER, Received, Report
from tests.local.receiver_machine import Receiver, a_receiver, an_aws

ROUNDS = 7
FULL_ROUNDS = 3
GOALS = {"first push, in full": 1.05, "nothing changed": 0.30, "1 % changed": 0.50}
SHARE = 0.01
_MOVED = re.compile(rb"Total bytes (?:sent|received): ([0-9]+)")
_SOME_TIME = read("2026-11-23T02:10:00Z")


@dataclass(frozen=True)
class Cost:
    """What one push took: seconds on the wall, seconds of processors on both sides, bytes on the wire."""

    wall: float
    processor: float
    wire: int


@dataclass
class Plain:
    """eu0: `rsync -aHAXS --numeric-ids --delete`."""

    receiver: Receiver
    tree: Path

    def forget(self) -> None:
        """Be a host that never pushed."""
        forget(self.receiver, "eu0")

    def push(self) -> bytes:
        same = [word for option in ciphers.options() for word in ("-o", option)]
        ssh = shlex.join(self.receiver.ssh_argv("eu0", *same))
        words = ["rsync", "-aHAXS", "--numeric-ids", "--delete", "--stats", "--no-human-readable", "-e", ssh]
        return subprocess.run([*words, f"{self.tree}/", "127.0.0.1::tree/"], check=True, capture_output=True).stdout


@dataclass
class ByIndex:
    """us0: the agent's hello and push. The report is not sent; only the generation of what it brings back matters."""

    receiver: Receiver
    tree: Path
    etc: Path
    generation: int | None = None
    said: list[str] = field(default_factory=list)
    parts: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paths = self.receiver.configure("us0", self.tree, self.etc, WHOLE_SYSTEM="no")
        self.config = load(self.paths)

    def forget(self) -> None:
        forget(self.receiver, "us0")
        self.paths.index.unlink(missing_ok=True)
        self.generation = None

    def push(self) -> bytes:
        out = bytearray()
        # Most of a day lies between an edit and its push: nothing is so young that it is pushed twice.
        world = World(lambda: datetime.now(UTC) + timedelta(hours=1), say=self.said.append)
        until = world.clock() + timedelta(hours=1)
        begun = time.monotonic()
        scan = scanning(self.config, self.paths, world.clock)
        with open_way(self.config, self.paths, world) as way, scan as scanned:
            way.hello(until)
            taken = survey.in_view_of(self.generation, scanned(), self.config, self.paths, world.say)
            known = time.monotonic()
            outcome = push(self.config, way.route, way.passes(taken), Watch(until, world, os.environ, out.extend))
        self.parts.append((known - begun, time.monotonic() - known))
        assert outcome.status == COMPLETE, outcome.problems
        self.generation = (self.generation or 0) + 1
        assert taken.tally
        survey.keep(taken, self.config, self.paths, self._recorded(digest_of(taken.tally.groups())), world.say)
        return bytes(out)

    def _recorded(self, links: str) -> Report:
        received = Received(_SOME_TIME, 0, 0.0, 0, 0, self.generation or 0, FAKE_SUPER, None, links)
        return Report("", "", "", "", COMPLETE, _SOME_TIME, _SOME_TIME, 0, receiver=received)


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-", dir="/var/tmp") as directory, an_aws() as aws:
        tree = Path(directory) / "tree"
        tree.mkdir()
        for number, source in enumerate(arguments):
            subprocess.run(["rsync", "-aHAX", "--max-size=2m", f"{source}/", f"{tree}/{number}/"], check=True)
        # From now on it is read from memory, by whoever comes first.
        subprocess.run(["tar", "-cf", "/dev/zero", "-C", str(tree), "."], check=True)
        receiving = a_receiver(aws, confine.SEPARATE, minutes=600)
        with receiving as receiver, counted_apart(receiver) as far:
            compare(receiver, tree, Path(directory) / "etc", far)
    return 0


def compare(receiver: Receiver, tree: Path, etc: Path, far: Callable[[], float]) -> None:
    plain, by_index = Plain(receiver, tree), ByIndex(receiver, tree, etc)
    entries = sum(len(found[1]) + len(found[2]) for found in os.walk(tree)) + 1
    print(f"{entries} entries, {size_mib(tree)} MiB; medians of {FULL_ROUNDS} rounds in full, then of {ROUNDS}\n")
    print("| wall s / CPU s / wire MiB | plain rsync | by the index | wall | CPU |\n| --- | --- | --- | --- | --- |")

    def forget_both(_: int) -> None:
        plain.forget()
        by_index.forget()

    show("first push, in full", by_index, list(rounds(FULL_ROUNDS, far, plain, by_index, forget_both)))
    show("nothing changed", by_index, list(rounds(ROUNDS, far, plain, by_index, lambda _: None)))
    show("1 % changed", by_index, list(rounds(ROUNDS, far, plain, by_index, lambda seed: change(tree, seed))))
    print(f"\nfloors: find -printf {seconds_of(lambda: find(tree)):.2f} s, "
          f"an ssh that says hello {seconds_of(lambda: receiver.ssh('us0', 'hello')):.2f} s")  # fmt: skip
    print("\n".join(by_index.said[-2:]))


def rounds(
    many: int, far: Callable[[], float], plain: Plain, by_index: ByIndex, edit: Callable[[int], None]
) -> Iterator[tuple[Cost, Cost]]:
    """Pushes of the same tree by both, first one and then the other."""
    by_index.parts.clear()
    for number in range(many):
        edit(number)
        if number % 2:
            cost = measured(far, by_index.push)
            yield measured(far, plain.push), cost
        else:
            cost = measured(far, plain.push)
            yield cost, measured(far, by_index.push)


def measured(far: Callable[[], float], push_once: Callable[[], bytes]) -> Cost:
    # What the push before this one wrote is on the disk.
    os.sync()
    before, begun = sum(os.times()[:4]) + far(), time.monotonic()
    out = push_once()
    wall = time.monotonic() - begun
    # The far side of an ssh that is over may still be tidying up.
    time.sleep(1)
    return Cost(wall, sum(os.times()[:4]) + far() - before, sum(map(int, _MOVED.findall(out))))


@contextmanager
def counted_apart(receiver: Receiver) -> Iterator[Callable[[], float]]:
    """Have a control group count the seconds of processors that the receiver and all that it starts use."""
    v1 = Path("/sys/fs/cgroup/cpuacct")
    group = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"ebbtide-bench-{os.getpid()}"
    group.mkdir()
    (listener,) = Path(f"/proc/{receiver.process.pid}/task/{receiver.process.pid}/children").read_text().split()
    for process in (str(receiver.process.pid), listener):
        (group / "cgroup.procs").write_text(process)

    def used() -> float:
        if v1.is_dir():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        return int((group / "cpu.stat").read_text().split()[1]) / 1e6

    try:
        yield used
    finally:
        for process in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(process)
        group.rmdir()


def show(what: str, by_index: ByIndex, costs: list[tuple[Cost, Cost]]) -> None:
    def cells(found: list[Cost]) -> tuple[float, float, float]:
        return (median(c.wall for c in found), median(c.processor for c in found), median(c.wire for c in found))

    plain, ours = cells([pair[0] for pair in costs]), cells([pair[1] for pair in costs])
    told = [f"{wall:.2f} / {processor:.2f} / {wire / 2**20:.2f}" for wall, processor, wire in (plain, ours)]
    ratio, goal = ours[0] / plain[0], GOALS[what]
    print(f"| {what} | {told[0]} | {told[1]} | {ratio:.2f} | {ours[1] / plain[1]:.2f} |", flush=True)
    if ratio > goal:
        until_known, pushing = (median(part) for part in zip(*by_index.parts, strict=True))
        print(f"the goal is {goal}: of ours {until_known:.2f} s hello and scan, {pushing:.2f} s the push itself")


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


def forget(receiver: Receiver, host: str) -> None:
    """Move a host's tree out of the way. Were it deleted, ext4 would step over its inodes, one by one, for minutes."""
    aside = Path(tempfile.mkdtemp(dir=receiver.store.parent))
    for child in receiver.tree(host).iterdir():
        child.rename(aside / child.name)


def find(tree: Path) -> None:
    words = ["find", str(tree), "-printf", "%p %s %T@ %C@ %i\\n"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def seconds_of(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def size_mib(tree: Path) -> int:
    return int(subprocess.run(["du", "-sm", str(tree)], check=True, capture_output=True, text=True).stdout.split()[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
