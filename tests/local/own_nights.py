"""A host and its nights without a receiver, whole and real; and what a tree amounts to, for comparison."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

import pytest

import ebbtide_agent
from ebbtide_agent import beside, host_main, procs, snapshots
from ebbtide_agent.entry import Entry, read_real
from ebbtide_agent.host import health, look, night, rsync
from ebbtide_agent.host.link import World
from ebbtide_agent.host.outcome import Outcome
from ebbtide_agent.paths import DirectoryPaths, HostPaths
from ebbtide_agent.report import Report

Ended = "subprocess.CompletedProcess[str]"
PATIENCE_SECONDS = 120


@dataclass
class Host:
    """us0, its tree, and the directory of its own that it backs up into."""

    place: Path
    target: Path
    keep: int = 7
    # By then nothing that a test has made is too young to be trusted, and the index has to prove itself.
    ahead: timedelta = timedelta(hours=1)
    clock_is_kept: bool = False
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for directory in (self.tree, self.paths.etc, self.target):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def tree(self) -> Path:
        return self.place / "tree"

    @property
    def paths(self) -> HostPaths:
        return HostPaths(self.place / "etc", self.place / "state")

    @property
    def store(self) -> DirectoryPaths:
        return DirectoryPaths(self.target)

    def configure(self, **settings: str) -> None:
        values = {"HOST": "us0", "TARGET": str(self.target), "KEEP": str(self.keep), "ROOT": str(self.tree)}
        values = {"WHOLE_SYSTEM": "no", **values, **settings}
        self.paths.config.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def back_up(self, accept_shrink: bool = False, accept_rewrite: bool = False, **settings: str) -> Report:
        """The next day's night."""
        self.configure(**settings)
        self.ahead += timedelta(days=1)
        kept = self.clock_is_kept
        world = World(lambda: datetime.now(UTC) + self.ahead, say=self.said.append, clock_is_kept=lambda: kept)
        meant = {"accept_shrink": accept_shrink, "accept_rewrite": accept_rewrite}
        return night.run(night.Night(self.paths, world, os.environ, **meant))

    def snapshots(self) -> tuple[str, ...]:
        return snapshots.find(path.name for path in self.target.iterdir())

    def newest(self) -> Path:
        return self.store.tree(self.snapshots()[-1])


def give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands still does so for hours before it is ended, and for seconds before it is ended the hard way."""
    for module, name, seconds in (
        (look, "STILL_SECONDS", 2.0), (rsync, "STILL_SECONDS", 2.0), (look, "ANSWER_SECONDS", 2.0),
        (health, "PATIENCE_SECONDS", 2.0), (procs, "LOOK_EVERY_SECONDS", 0.1), (procs, "KILL_AFTER_SECONDS", 0.5),
        (beside, "_PATIENCE_SECONDS", 0.5), (beside, "_PATIENCE_BELOW_SECONDS", 0.1),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, seconds)


def after_each_push(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen before a night goes on, whenever it has pushed."""
    push_tree = night.push_tree

    def push_and_then(*arguments: Any) -> Outcome:
        outcome = push_tree(*arguments)
        happens()
        return outcome

    monkeypatch.setattr(night, "push_tree", push_and_then)


def agent(host: Host) -> list[str]:
    """What cron would start."""
    package = Path(ebbtide_agent.__file__).parents[1]
    main = (
        f"import sys; sys.path.insert(0, {str(package)!r}); from ebbtide_agent.__main__ import main; sys.exit(main())"
    )
    return [sys.executable, "-c", main, "run", "--etc", str(host.paths.etc), "--state", str(host.paths.state)]


def as_agent(host: Host, command: str, *words: str | bytes, cwd: Path | None = None) -> Ended:
    """What becomes of this command line of the agent's, where nobody can answer, in a process of its own.

    It is a copy of this one: to start Python and read the agent takes longer than most commands.
    """
    argv = [command, *map(os.fsdecode, words), "--etc", str(host.paths.etc), "--state", str(host.paths.state)]
    host_main.all_commands()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="backslashreplace") as err:
        copy = get_context("fork").Process(target=_be_the_agent, args=(argv, cwd or Path.cwd(), out, err))
        copy.start()
        copy.join()
        for said in (out, err):
            said.seek(0)
        assert copy.exitcode is not None
        return subprocess.CompletedProcess(argv, copy.exitcode, out.read(), err.read())


def _be_the_agent(argv: Sequence[str], cwd: Path, out: TextIOWrapper, err: TextIOWrapper) -> NoReturn:
    signal.alarm(PATIENCE_SECONDS)
    os.chdir(cwd)
    for theirs, ours in enumerate((os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno())):
        os.dup2(ours, theirs)
    err.reconfigure(line_buffering=True)
    sys.stdout, sys.stderr = out, err
    sys.exit(host_main.main(argv))


def entries(tree: Path) -> dict[bytes, Entry]:
    """All there is to a tree: kinds, owners, modes, times, attributes, contents and hard links."""
    return {entry.path: entry for entry in read_real(tree, hashed)}


def hashed(where: bytes, _: Entry) -> str:
    with open(where, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(got: dict[bytes, Entry], expected: dict[bytes, Entry]) -> dict[bytes, object]:
    """What is not the same in both, by path."""
    paths = got.keys() | expected.keys()
    return {path: (got.get(path), expected.get(path)) for path in paths if got.get(path) != expected.get(path)}
