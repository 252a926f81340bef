"""What a night writes: the 512 KiB blocks of the volume that change, which are what EBS bills a snapshot for.

`PYTHONPATH=agent python -m bench.blocks [--nights 14] [--filled PERCENT] [--json FILE] TREE [TREE ...]` copies the
trees (but for files above 2 MB) beside a log of 200 MB, and backs the copy up night after night to a receiver of its
own, with reports and manifests: first onto ext4, then onto btrfs. Between two nights one file in a
hundred is edited, written anew, made or deleted, and the log grows by 2 MB. After each night the volume was let go, and
its blocks are compared with those of the night before. The floor is what the edits themselves wrote. With `--filled`
a large file of the host fills the volume to that much first. Needs root.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.paired import a_copy_of, size_mib, size_of
from ebbtide_agent.host.link import World
from ebbtide_agent.host.night import Night as HostsNight
from ebbtide_agent.host.night import run
from ebbtide_agent.receiver import confine
from tests.debian import its_programs
from tests.local.receiver_machine import Receiver, Volume, a_receiver, an_aws
from tests.loops import a_loop_device

BLOCK = 512 * 1024
MIB = 1 << 20
SHARE = 0.01
LOG, BALLAST = "big.log", "ballast"
LOG_BYTES, LOG_GROWS = 200 * MIB, 2 * MIB
SEVERAL_TIMES = 3
GOALS = {"ext4": 12, "btrfs": 6}
_NOTHING = hashlib.blake2b(bytes(BLOCK), digest_size=8).digest()


@dataclass(frozen=True)
class Night:
    """MiB that the edits wrote, MiB of changed blocks, MiB of blocks that hold anything, and how full it is."""

    filesystem: str
    number: int
    floor: float
    changed: float
    stored: float
    filled: float


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", metavar="TREE")
    parser.add_argument("--nights", type=int, default=14)
    parser.add_argument("--filled", type=int, metavar="PERCENT", help="how full the volume is to begin with")
    parser.add_argument("--filesystem", choices=tuple(GOALS), action="append", help="only this one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every night's figures there")
    options = parser.parse_args(arguments)
    found: list[Night] = []
    with a_copy_of(options.trees) as place:
        write_log(place / "tree" / LOG)
        print(f"{size_of(place / 'tree')}\n\n{HEAD}")
        for filesystem in options.filesystem or GOALS:
            # Each begins with the same tree, and has the same edits.
            tree = place / f"tree-{filesystem}"
            subprocess.run(["cp", "-a", str(place / "tree"), str(tree)], check=True)
            nights = list(printed(backed_up(place, tree, filesystem, options.nights, options.filled)))
            found += nights
            summary(nights)
    if options.json:
        options.json.write_text(json.dumps([asdict(night) for night in found], indent=1) + "\n")
    return 0


HEAD = "| file system | night | floor MiB | changed MiB | times | stored MiB | full % |\n|---|---|---|---|---|---|---|"


def printed(nights: Iterator[Night]) -> Iterator[Night]:
    for night in nights:
        told = (f"{night.floor:.1f}", f"{night.changed:.1f}", f"{night.changed / night.floor:.1f}",
                f"{night.stored:.0f}", f"{night.filled:.0f}")  # fmt: skip
        print(f"| {' | '.join((night.filesystem, str(night.number), *told))} |", flush=True)
        yield night


def summary(nights: list[Night]) -> None:
    times = [night.changed / night.floor for night in nights]
    third = max(1, len(nights) // 3)
    first, last = median(times[:third]), median(times[-third:])
    name = nights[0].filesystem
    print(f"\n{name}: {median(times):.1f} times the floor in the median, {max(times):.1f} at most (goal {GOALS[name]});"
          f" {first:.1f} in the first third of the nights, {last:.1f} in the last\n\n{HEAD}", flush=True)  # fmt: skip


def backed_up(place: Path, tree: Path, filesystem: str, many: int, filled: int | None) -> Iterator[Night]:
    image = place / f"{filesystem}.img"
    with image.open("wb") as file:
        file.truncate(size_mib(tree) * SEVERAL_TIMES * MIB)
    with a_loop_device(image) as device, an_aws() as aws:
        volume = Volume(device, filesystem, programs=its_programs(("mkfs.btrfs", "btrfs"), place / f"bin-{filesystem}"))
        with a_receiver(aws, confine.SEPARATE, ("us0",), minutes=60, volume=volume) as receiver:
            etc = place / f"etc-{filesystem}"
            disk = a_night(receiver, tree, etc)
            if filled is not None:
                write_noise(tree / BALLAST, (disk["used"] + disk["free"]) * filled // 100 - disk["used"])
                receiver.next_night("main/2026-11-23/2")
                disk = a_night(receiver, tree, etc)
            before = blocks(image)
            for number in range(1, many + 1):
                floor = edit(tree, number)
                receiver.next_night(f"main/2026-11-24/{number}")
                disk = a_night(receiver, tree, etc)
                now = blocks(image)
                changed = sum(one != other for one, other in zip(now, before, strict=True)) * BLOCK
                stored = sum(one != _NOTHING for one in now) * BLOCK
                full = 100 * disk["used"] / (disk["used"] + disk["free"])
                yield Night(filesystem, number, floor / MIB, changed / MIB, stored / MIB, full)
                before = now


def a_night(receiver: Receiver, tree: Path, etc: Path) -> dict[str, int]:
    """The night of the agent and of the receiver until it has let go; what it measured of its volume, in bytes."""
    reported = run(HostsNight(receiver.configure("us0", tree, etc), World(a_little_later), os.environ))
    assert reported.is_complete, (*reported.problems, receiver.log())
    receiver.process.wait(60)
    released = receiver.word("released")
    assert released and released["clean"], released
    return dict(released["disk"])


def a_little_later() -> datetime:
    """What was edited a moment ago would be pushed twice, in case it is edited still; most of a day lies between."""
    return datetime.now(UTC) + timedelta(minutes=2)


def write_noise(path: Path, size: int) -> None:
    chance = random.Random(0)
    with path.open("wb") as file:
        while (left := size - file.tell()) > 0:
            file.write(chance.randbytes(min(left, MIB)))


def blocks(image: Path) -> list[bytes]:
    """The hash of every block; what was never written is read as zeros."""
    os.sync()
    with image.open("rb", buffering=0) as file:
        return [hashlib.blake2b(block, digest_size=8).digest() for block in iter(lambda: file.read(BLOCK), b"")]


def write_log(path: Path) -> None:
    chance = random.Random(42)
    with path.open("wb") as file:
        while file.tell() < LOG_BYTES:
            file.write(log_lines(chance))


def log_lines(chance: random.Random) -> bytes:
    words = b" ".join(b"%x" % chance.getrandbits(30) for _ in range(200))
    return b"".join(b"2026-11-27 02:%02d:00 app: %s\n" % (number % 60, words[number:][:80]) for number in range(1000))


def edit(tree: Path, seed: int) -> int:
    """A day: small edits in place, files written anew, new ones, deletions, a log that grows. Returns bytes written."""
    chance = random.Random(seed)
    files = sorted(path for path in tree.rglob("*") if is_plain(path) and path.name not in (LOG, BALLAST))
    kinds: tuple[Callable[[Path, random.Random, int], int], ...] = (edited, edited, edited, anew, anew, anew, added,
                                                                   added, deleted, deleted)  # fmt: skip
    chosen = chance.sample(files, int(len(files) * SHARE))
    written = sum(kinds[number % len(kinds)](path, chance, seed) for number, path in enumerate(chosen))
    with (tree / LOG).open("ab") as log:
        begun = log.tell()
        while log.tell() < begun + LOG_GROWS:
            log.write(log_lines(chance))
        return written + log.tell() - begun


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def edited(path: Path, chance: random.Random, _: int) -> int:
    with path.open("r+b") as file:
        file.seek(chance.randrange(max(1, path.stat().st_size - 32)))
        return file.write(chance.randbytes(32))


def anew(path: Path, chance: random.Random, _: int) -> int:
    body = chance.randbytes(max(32, path.stat().st_size))
    aside = path.with_name(path.name + "~")
    aside.write_bytes(body)
    aside.replace(path)
    return len(body)


def added(path: Path, chance: random.Random, seed: int) -> int:
    return path.with_name(f"{path.name}-{seed}"[-200:]).write_bytes(
        chance.randbytes(int(chance.lognormvariate(8, 1.2)))
    )


def deleted(path: Path, _: random.Random, __: int) -> int:
    path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
