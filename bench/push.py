"""A push by the index against plain rsync, through a real sshd, gate and confined rsync.

`PYTHONPATH=agent python -m bench.push TREE [TREE ...]` copies the trees (but for files above 2 MB) and pushes the copy
twice: for host us0 as the agent does, for host eu0 by the plain rsync that everyone would use. Both go the same way to
the same receiver, with the same cipher, in turns, each round in the other order. The report is not sent: the manifest
that a receiver writes of it, with a hash for every file, comes on top of both and is counted apart. Needs root.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

from bench.paired import Cost, Far, a_copy_of, change, counted_apart, forget, medians, size_of
from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
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
_SOME_TIME = read("2026-11-23T02:10:00Z")


@dataclass
class Plain:
    """eu0: `rsync -aHAXS --numeric-ids --delete`."""

    receiver: Receiver
    tree: Path

    def forget(self) -> None:
        """Be a host that never pushed."""
        forget(self.receiver.tree("eu0"), self.receiver.store.parent)

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
        forget(self.receiver.tree("us0"), self.receiver.store.parent)
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
            hello = way.hello(until)
            taken = survey.in_view_of(self.generation, scanned(), self.config, self.paths, world.say)
            known = time.monotonic()
            watch = Watch(until, world, os.environ, out.extend)
            outcome = push(self.config, partial(way.route, hello), way.passes(hello, taken), watch)
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
    with a_copy_of(arguments) as place, an_aws() as aws:
        receiving = a_receiver(aws, confine.SEPARATE, minutes=600)
        with receiving as receiver, counted_apart(*machine_of(receiver)) as far:
            compare(receiver, place / "tree", place / "etc", far)
    return 0


def machine_of(receiver: Receiver) -> tuple[int, int]:
    """The receiver's main process and its sshd, which start all the others."""
    (listener,) = Path(f"/proc/{receiver.process.pid}/task/{receiver.process.pid}/children").read_text().split()
    return receiver.process.pid, int(listener)


def compare(receiver: Receiver, tree: Path, etc: Path, far: Far) -> None:
    plain, by_index = Plain(receiver, tree), ByIndex(receiver, tree, etc)
    print(f"{size_of(tree)}; medians of {FULL_ROUNDS} rounds in full, then of {ROUNDS}\n")
    print("| wall s / CPU s / wire MiB | plain rsync | by the index | wall | CPU |\n| --- | --- | --- | --- | --- |")

    def forget_both(_: int) -> None:
        plain.forget()
        by_index.forget()

    def show(what: str, many: int, edit: Callable[[int], None]) -> Cost:
        by_index.parts.clear()
        plain_cost, our_cost = medians(many, far, (plain.push, by_index.push), edit)
        row(what, by_index, plain_cost, our_cost)
        return our_cost

    show("first push, in full", FULL_ROUNDS, forget_both)
    unchanged = show("nothing changed", ROUNDS, lambda _: None)
    show("1 % changed", ROUNDS, lambda seed: change(tree, seed))
    print("\nfloors, and how many of them a push of nothing is:")
    for floor, act in (("find -printf", lambda: find(tree)), ("an ssh's hello", lambda: receiver.ssh("us0", "hello"))):
        seconds = median(seconds_of(act) for _ in range(FULL_ROUNDS))
        print(f"{floor} {seconds:.2f} s, {unchanged.wall / seconds:.1f}")
    anew, again = (seconds_of(lambda: write_manifest(receiver, etc)) for _ in range(2))
    print(f"\nthe manifest, apart: of a tree never seen {anew:.2f} s, of one that is known {again:.2f} s")
    print("\n".join(by_index.said[-2:]))


def row(what: str, by_index: ByIndex, plain: Cost, ours: Cost) -> None:
    ratio, goal = ours.wall / plain.wall, GOALS[what]
    print(f"| {what} | {plain} | {ours} | {ratio:.2f} | {ours.processor / plain.processor:.2f} |", flush=True)
    if ratio > goal:
        until_known, pushing = (median(part) for part in zip(*by_index.parts, strict=True))
        print(f"the goal is {goal}: of ours {until_known:.2f} s hello and scan, {pushing:.2f} s the push itself")


def write_manifest(receiver: Receiver, place: Path) -> None:
    """As the receiver does once a push is reported; what the last one knows it need not read."""
    last, new = place / "manifest", place / "new-manifest"
    manifest.write(receiver.tree("us0"), FAKE_SUPER, last, new, Header("us0a", receiver.run, FAKE_SUPER))
    new.replace(last)


def find(tree: Path) -> None:
    words = ["find", str(tree), "-printf", "%p %s %T@ %C@ %i\\n"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def seconds_of(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
