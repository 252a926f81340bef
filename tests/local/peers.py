"""Servers that back each other up, on loopback: the built agent, a real sshd, a real confined rsync, and no AWS."""

import getpass
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent import snapshots
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.receiver import confine
from ebbtide_console.sandbox import awkward
from tests.local.ports import a_free_port
from tests.local.receiver_machine import (
    PATIENCE_SECONDS,
    SITE_PACKAGES,
    a_key,
    as_whom,
    path_of,
    unpacked,
    wait_until,
)
from tools.build_agent import build_for_hosts

STRONGEST = confine.SEPARATE if os.geteuid() == 0 else confine.OWN


@dataclass
class Server:
    """A host with a tree and a key, that also takes the backups of others.

    `agent` is the one file, as it is installed, which serves; all else starts `program`, the same compiled.
    """

    name: str
    place: Path
    port: int
    agent: Path
    program: Path
    become: list[str]
    login: str
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def id(self) -> str:
        return f"{self.name}a"

    @property
    def tree(self) -> Path:
        return self.place / "tree"

    @property
    def key(self) -> Path:
        return self.place / "key"

    @property
    def places(self) -> HostPaths:
        return HostPaths(self.place / "machine/etc", self.place / "machine/state")

    @property
    def store(self) -> PeerPaths:
        return PeerPaths(self.places.state, self.place / "store")

    def peer(self, *words: str, program: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """`ebbtide-agent peer …`, as the user that the peer runs as."""
        argv = self._peer(program or self.program, *words)
        return subprocess.run(argv, capture_output=True, text=True, env=self.environment, timeout=PATIENCE_SECONDS)

    def _peer(self, program: Path, *words: str) -> list[str]:
        places = ("--etc", str(self.places.etc), "--state", str(self.places.state))
        return [*self.become, sys.executable, str(program), "peer", *words, *places]

    def take(self, other: "Server", *words: str) -> None:
        """Take another's backups from now on."""
        public = other.key.with_suffix(".pub").read_text().strip()
        store = ("--at", str(self.store.store), "--port", str(self.port))
        added = self.peer("add", other.name, "--id", other.id, "--key", public, *store, *words)
        assert added.returncode == 0, added.stderr
        other.known_hosts.write_text(f"localhost {self.places.peer_key.with_suffix('.pub').read_text()}")

    @property
    def known_hosts(self) -> Path:
        return self.place / "known_hosts"

    @property
    def log(self) -> Path:
        return self.place / "machine/log"

    def serve(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self._peer(self.agent, "serve"),
                stdout=output,
                stderr=output,
                env=self.environment,
                start_new_session=True,
            )
        wait_until(lambda: "ready" in self.said() or self.ended(), "the peer")
        assert not self.ended(), self.said()

    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None

    def back_up_to(self, other: "Server", **settings: str) -> "subprocess.CompletedProcess[str]":
        """A night of this host's, to the other server."""
        self.configure(other, **settings)
        return subprocess.run(self.running(self.place / "state"), capture_output=True, text=True, timeout=180)

    def configure(self, other: "Server", **settings: str) -> HostPaths:
        """Have this host's nights go to the other server."""
        etc = self.place / "etc"
        etc.mkdir(exist_ok=True)
        values = {
            "HOST": self.name,
            "TARGET": f"receiver://localhost:{other.port}",
            "KEEP": "7",
            "USER": other.login,
            "KEY": str(self.key),
            "KNOWN_HOSTS": str(self.known_hosts),
            "ROOT": str(self.tree),
            "WAIT_MINUTES": "1",
            "WHOLE_SYSTEM": "no",
            **settings,
        }
        (etc / "backup_config").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return HostPaths(etc, self.place / "state")

    def running(self, state: Path) -> list[str]:
        """`ebbtide-agent run`, as it was configured last."""
        places = ("--etc", str(self.place / "etc"), "--state", str(state), "--log", str(self.place / "no-log"))
        return [sys.executable, str(self.program), "run", *places, "--progress", "lines"]

    def complete_night(self, other: "Server") -> tuple[str, ...]:
        """One that goes well, until its snapshot is there. Returns all that are kept of this host."""
        ended = self.back_up_to(other)
        assert ended.returncode == 0, ended.stdout + ended.stderr + other.said()
        return other.await_snapshots(self)

    def past(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """`ebbtide-agent list` or `restore`, of where the last night went."""
        places = ("--etc", str(self.place / "etc"), "--state", str(self.place / "state"))
        argv = [sys.executable, str(self.program), *words, *places]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=self.place)

    def ssh(self, other: "Server", *words: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*self.ssh_argv(other), "127.0.0.1", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )

    def ssh_argv(self, other: "Server") -> list[str]:
        fixed = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=localhost")
        options = [word for option in (*fixed, f"UserKnownHostsFile={self.known_hosts}") for word in ("-o", option)]
        return ["ssh", "-F", "none", "-l", other.login, "-p", str(other.port), "-i", str(self.key), *options]

    def snapshots_of(self, other: "Server") -> tuple[str, ...]:
        """Those that are kept here."""
        return snapshots.find(path.name for path in self.store.snapshots(other.id).path.iterdir())

    def await_snapshots(self, other: "Server", wanted: int | None = None) -> tuple[str, ...]:
        """Until there is one of the last night, and so many in all."""

        def all_made() -> bool:
            names = self.snapshots_of(other)
            newest = run_of(self.store.snapshots(other.id).report(names[-1])) if names else None
            return newest == run_of(self.store.night(other.id)) and wanted in (None, len(names))

        wait_until(all_made, f"the snapshots of {other.name}: {self.snapshots_of(other)}, {self.said()}")
        return self.snapshots_of(other)

    def session(self, other: "Server") -> "subprocess.Popen[bytes]":
        """One with rsync at the other that has begun, and does nothing."""
        begun = self.find_session(other)
        assert begun
        return begun

    def find_session(self, other: "Server") -> "subprocess.Popen[bytes] | None":
        """The same, unless it is refused."""
        words = [*self.ssh_argv(other), "127.0.0.1", "rsync --server --daemon ."]
        session = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert session.stdout
        return session if session.stdout.readline().startswith(b"@RSYNCD:") else None

    def snapshot(self, other: "Server", name: str) -> Path:
        return self.store.snapshots(other.id).tree(name)


def run_of(path: Path) -> str:
    return str(json.loads(path.read_bytes())["run"])


@contextmanager
def servers(kind: str, *names: str) -> Iterator[tuple[Server, ...]]:
    """Servers that take nobody's backups yet; their peers have walls of this kind."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-peers-") as directory, ExitStack() as stack:
        top = Path(directory)
        top.chmod(0o755)
        program = unpacked(build_for_hosts)
        made = []
        for name in names:
            made.append(_a_server(name, top / name, kind, program.with_suffix(".pyz"), program))
            stack.callback(made[-1].stop)
        yield tuple(made)


Trio = tuple[Server, Server, Server]


@contextmanager
def a_peer_and_its_guests(kind: str) -> Iterator[Trio]:
    """eu0, which takes the backups of us0, with a few files, and of us1, which has one. us0 had a night."""
    with servers(kind, "eu0", "us0", "us1") as (eu0, us0, us1):
        for guest in (us0, us1):
            eu0.take(guest)
        sow(us0.tree)
        (us1.tree / "file").write_text("us1")
        eu0.serve()
        us0.complete_night(eu0)
        yield eu0, us0, us1


def sow(tree: Path) -> None:
    """A file, its other name, a link and a directory with an attribute: what is odder takes rsync a few more calls."""
    (tree / "a").mkdir()
    (tree / "a/file").write_text("file")
    (tree / "a/hard").hardlink_to(tree / "a/file")
    (tree / "a/link").symlink_to("/etc/passwd")
    os.setxattr(tree / "a", "user.of-a-directory", b"yes")


def grow(tree: Path) -> None:
    (awkward.grow if os.geteuid() == 0 else awkward.grow_plain)(tree)


def _a_server(name: str, place: Path, kind: str, agent: Path, program: Path) -> Server:
    for new in (place / "machine/etc", place / "machine/state", place / "store", place / "tree"):
        new.mkdir(parents=True)
    environment = {"PATH": path_of(kind, place), "HOME": str(place / "machine"), "PYTHONPATH": SITE_PACKAGES}
    a_key(place / "key")
    become, user = as_whom(kind == confine.SEPARATE, place, place / "machine", place / "store")
    login = user or getpass.getuser()
    return Server(name, place, a_free_port(), agent, program, become, login, environment)
