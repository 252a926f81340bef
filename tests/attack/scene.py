"""Where attacks happen: a receiver with the key of us0 in an attacker's hands, and all that must stay as it is."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ebbtide_agent import letters
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.lease import MOST_SESSIONS
from tests.attack.canaries import Canaries
from tests.local.processes import below, name_of
from tests.local.receiver_machine import PATIENCE_SECONDS, Receiver, arrived, wait_until

ATTACKER, NEIGHBOUR = "us0", "eu0"
# Another host, whose push begins before a group of attacks and goes on after it.
MEANWHILE = "de0"
# Hosts whose keys are stolen as well, each for one report: after that they have no more say in this run.
REPORTERS = tuple(f"us{number}" for number in range(1, 10))


@dataclass(frozen=True)
class Scene:
    """A receiver, and a place for what the attacker prepares at home; who has `reported` in the attack under way."""

    receiver: Receiver
    place: Path
    reported: list[str] = field(default_factory=list)

    @property
    def paths(self) -> MachinePaths:
        return MachinePaths(self.receiver.root)

    @property
    def canaries(self) -> Canaries:
        return Canaries(self.receiver, (ATTACKER, *REPORTERS))

    @property
    def tree(self) -> Path:
        return self.receiver.tree(ATTACKER)

    @property
    def shared(self) -> tuple[str, ...]:
        """One connection for most of what is tried: to shake hands costs more than the rest of it."""
        socket = self.place / "socket"
        return ("-o", "ControlMaster=auto", "-o", f"ControlPath={socket}", "-o", "ControlPersist=60")

    def push(self, source: Path, *words: str, to: str = "tree/") -> "subprocess.CompletedProcess[bytes]":
        return self._rsync(*words, f"{source}/", f"127.0.0.1::{to}")

    def pull(self, place: str, into: Path) -> "subprocess.CompletedProcess[bytes]":
        return self._rsync(f"127.0.0.1::{place}", *([str(into)] if place else []))

    def pushing(self, source: Path, *words: str) -> "subprocess.Popen[bytes]":
        """A push that goes on."""
        argv = self._argv(*words, f"{source}/", "127.0.0.1::tree/")
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def _rsync(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(self._argv(*words), capture_output=True, timeout=120)

    def _argv(self, *words: str) -> list[str]:
        return ["rsync", "-a", "-e", " ".join(self.receiver.ssh_argv(ATTACKER, *self.shared)), *words]

    def ask(self, *words: str, feed: bytes = b"", options: Sequence[str] = ()) -> "subprocess.CompletedProcess[bytes]":
        """By the shared connection."""
        return self.receiver.ssh(ATTACKER, *words, feed=feed, options=(*self.shared, *options))

    def connect(self, *options: str, words: Sequence[str] = ()) -> "subprocess.CompletedProcess[bytes]":
        """By one of its own."""
        return self.receiver.ssh(ATTACKER, *words, options=options)

    def disconnect(self) -> None:
        self.ask(options=("-O", "exit"))

    @contextmanager
    def nights_of_others(self) -> Iterator[None]:
        """One host's agent pushes from before the block until after it, and then another's comes as well: both nights
        are complete, whatever was tried."""
        source, landing = self.place / "meanwhile", self.receiver.tree(MEANWHILE) / "large"
        source.mkdir()
        (source / "large").write_bytes(os.urandom(600_000))
        argv = self.receiver.night_argv(MEANWHILE, source, self.place / "etc-of-the-one", BANDWIDTH="200k")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as agent:
            wait_until(lambda: agent.poll() is not None or arrived(landing), "some of what is pushed meanwhile")
            pushing = [process for process in below(agent.pid) if name_of(process) == "rsync"]
            tell(pushing, signal.SIGSTOP)
            try:
                assert pushing and agent.poll() is None, self.receiver.log()
                yield
            finally:
                tell(pushing, signal.SIGCONT)
            other = self.receiver.back_up(NEIGHBOUR, self.place / "neighbour", self.place / "etc-of-the-other")
            said, _ = agent.communicate(timeout=PATIENCE_SECONDS)
        assert (agent.returncode, self.is_complete(MEANWHILE)) == (0, True), said
        assert landing.read_bytes() == (source / "large").read_bytes()
        assert (other.returncode, self.is_complete(NEIGHBOUR)) == (0, True), other.stderr + self.receiver.log()

    def is_complete(self, host: str) -> bool:
        """Whether its night is on record as that."""
        report = self.receiver.report(host)
        return report is not None and report["status"] == "complete"

    def neighbour_pushes(self, *options: str) -> "subprocess.CompletedProcess[bytes]":
        """Another host's backup, the same again each time."""
        shell = " ".join(self.receiver.ssh_argv(NEIGHBOUR, *options))
        words = ["rsync", "-a", "--checksum", "-e", shell, f"{self.place}/neighbour/", "127.0.0.1::tree/"]
        return subprocess.run(words, capture_output=True, timeout=120)

    def report(self, host: str, body: bytes) -> "subprocess.CompletedProcess[bytes]":
        """By the key of one of the reporters; what is recorded of that may change, this once, and is all told."""
        self.reported.append(host)
        ended = self.receiver.ssh(host, "report", feed=body)
        wait_until(lambda: not letters.waiting(self.paths.outbox), "the event to be sent")
        return ended

    def outside(self) -> Mapping[str, str]:
        """All that no attacker may change, once every session has ended but the one that is under way meanwhile."""
        ids = [host.id for name, host in self.receiver.hosts.items() if name != MEANWHILE]
        seats = [self.paths.seat(each, number) for each in ids for number in range(MOST_SESSIONS)]
        wait_until(lambda: not any(map(is_held, filter(Path.exists, seats))), "the end of all other sessions")
        return self.canaries.look()

    def changed_since(self, before: Mapping[str, str]) -> set[str]:
        """The names of what is another than before, is gone or is new; but for what is recorded of who reported."""
        now = self.outside()
        recorded = frozenset[str]().union(*map(self.canaries.recorded, self.reported))
        return {name for name in {*before, *now} if before.get(name) != now.get(name)} - recorded


def tell(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        os.kill(process, number)


def is_held(path: Path) -> bool:
    """Whether somebody is still there who has locked it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
