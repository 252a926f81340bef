"""The memory of the agent on trees of up to some million files: `PYTHONPATH=agent python -m bench.memory [FILES ...]`;
with `--of-a-directory 1000000`, all of a million files are in one.

The one file that goes onto hosts backs a tree up to a directory of the same disk, as cron would run it: first in full,
then unchanged, then with one file in a hundred changed. Of all its processes that are Python the proportional set size
is sampled twenty times a second; a page that several share counts once. rsync's own memory is shown apart. Makes its
trees below /var/tmp and removes them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.host.scan import YOUNG_NS
from tools.build_agent import build_for_hosts

SIZES = [250_000, 1_000_000]
SAMPLE_SECONDS = 0.05
SHARE = 100


@dataclass(frozen=True)
class Peak:
    """MiB at most, of the agent and of rsync, and the seconds of the whole night."""

    agent: float
    rsync: float
    seconds: float


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description="how much memory a host's night takes")
    parser.add_argument("files", nargs="*", type=int, default=SIZES, metavar="FILES")
    parser.add_argument("--of-a-directory", type=int, default=100, metavar="N", help="how many files each one has")
    options = parser.parse_args(arguments)
    print("| files | night | MiB of the agent | MiB of rsync | s |\n| --- | --- | --- | --- | --- |")
    for files in options.files:
        with tempfile.TemporaryDirectory(prefix="ebbtide-bench-", dir="/var/tmp") as directory:
            for night, peak in nights(Path(directory), files, options.of_a_directory):
                print(f"| {files:,} | {night} | {peak.agent:.0f} | {peak.rsync:.0f} | {peak.seconds:.0f} |", flush=True)
    return 0


def nights(place: Path, files: int, of_a_directory: int) -> Iterator[tuple[str, Peak]]:
    agent, tree, etc = place / "ebbtide-agent", place / "tree", place / "etc"
    build_for_hosts(agent)
    made = list(make(tree, files, of_a_directory))
    (place / "backup").mkdir()
    etc.mkdir()
    config = {"HOST": "us0", "TARGET": place / "backup", "KEEP": 2, "ROOT": tree, "WHOLE_SYSTEM": "no", "IONICE": "no"}
    (etc / "backup_config").write_text("".join(f"{key}={value}\n" for key, value in config.items()))
    words = [sys.executable, str(agent), "run", "--etc", str(etc), "--state", str(place / "state")]
    yield "first, in full", watched(words)
    # What was made a moment ago is looked at again by every push: a night lies between.
    age(made[-1])
    yield "second, the young ones again", watched(words)
    yield "nothing changed", watched(words)
    for path in made[::SHARE]:
        path.write_bytes(b"changed")
    yield "1 % changed", watched(words)


def make(tree: Path, files: int, of_a_directory: int) -> Iterator[Path]:
    """Directories of so many small files, and names as long as people's are."""
    for number in range(files // of_a_directory):
        directory = tree / f"projects-{number // 1000:03}" / f"some-project-{number:06}"
        directory.mkdir(parents=True)
        for each in range(of_a_directory):
            path = directory / f"chapter-{each:03}-draft.txt"
            path.write_bytes(b"x" * (each % 3))
            yield path


def age(youngest: Path) -> None:
    """Wait until the file that was made last is no longer so young that it may change without a trace."""
    trusted = (youngest.stat().st_ctime_ns + YOUNG_NS) / 1e9
    time.sleep(max(0.0, trusted + 2 - time.time()))


def watched(words: list[str]) -> Peak:
    begun = time.monotonic()
    process = subprocess.Popen(words)
    agent = rsync = 0.0
    while process.poll() is None:
        agent = max(agent, sum(map(mib, of(process.pid, "python"))))
        rsync = max(rsync, sum(map(mib, of(process.pid, "rsync"))))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with exit code {process.returncode}")
    return Peak(agent, rsync, time.monotonic() - begun)


def of(root: int, program: str) -> Iterator[int]:
    """The process and all below it that are this program."""
    for pid in (root, *below(root)):
        try:
            if Path(f"/proc/{pid}/comm").read_text().startswith(program):
                yield pid
        except OSError:
            continue


def below(pid: int) -> Iterator[int]:
    try:
        tasks = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return
    for child in map(int, " ".join(tasks).split()):
        yield child
        yield from below(child)


def mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
