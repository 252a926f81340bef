"""Where attacks happen: a receiver with the key of us0 in an attacker's hands, and all that must stay as it is."""

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.local.receiver_machine import Receiver, arrived, wait_until

ATTACKER, NEIGHBOUR = "us0", "eu0"
# Another host, whose push begins before a group of attacks and goes on after it.
MEANWHILE = "de0"
# Hosts whose keys are stolen as well, each for one report: after that they have no more say in this run.
REPORTERS = tuple(f"us{number}" for number in range(1, 10))
PLANTED = f"planted-by-us0-{os.getpid()}"
# Where an attacker might leave something, if he could; not where whoever plays the receiver may not even look.
ELSEWHERE = tuple(
    place
    for place in ("/", "/tmp", "/dev/shm", "/usr/lib", "/etc", "/root", "/var/tmp")
    if os.access(place, os.R_OK | os.X_OK)
)
# What an attacker's own sessions write: its tree, and what the receiver notes of them.
_OWN = re.compile(r"(^|/)\.?us[0-9]a(/|\.|$)")
# What grows while anybody is served, the notes on the neighbour's sessions, and what is about to be told of reports.
_GROWING = re.compile(r"machine/log|.*/sshd\.log|.*/sessions/\.?eu0a\..*|.*/outbox(/.*)?")


@dataclass(frozen=True)
class Scene:
    """A receiver, and a place for what the attacker prepares at home."""

    receiver: Receiver
    place: Path

    @property
    def tree(self) -> Path:
        return self.receiver.tree(ATTACKER)

    @property
    def shared(self) -> tuple[str, ...]:
        """One connection for most of what is tried: to shake hands costs more than the rest of it."""
        socket = self.receiver.root.parent / f"{ATTACKER}a.socket"
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
    def push_under_way(self) -> Iterator[None]:
        """One of another host, from before the block until after it; then it has come through, whatever was tried."""
        source = self.place / "meanwhile"
        source.mkdir()
        (source / "large").write_bytes(os.urandom(600_000))
        shell = " ".join(self.receiver.ssh_argv(MEANWHILE))
        words = ["rsync", "-a", "--bwlimit=200", "-e", shell, f"{source}/", "127.0.0.1::tree/"]
        landing = self.receiver.tree(MEANWHILE) / "large"
        with subprocess.Popen(words, stderr=subprocess.PIPE) as push:
            wait_until(lambda: push.poll() is not None or arrived(landing), "some of what is pushed meanwhile")
            push.send_signal(signal.SIGSTOP)
            try:
                assert push.poll() is None, self.receiver.log()
                yield
            finally:
                push.send_signal(signal.SIGCONT)
            _, said = push.communicate(timeout=120)
        assert push.returncode == 0, said
        assert landing.read_bytes() == (source / "large").read_bytes()

    def neighbour_pushes(self, *options: str) -> "subprocess.CompletedProcess[bytes]":
        """Another host's backup, the same again each time."""
        shell = " ".join(self.receiver.ssh_argv(NEIGHBOUR, *options))
        words = ["rsync", "-a", "--checksum", "-e", shell, f"{self.place}/neighbour/", "127.0.0.1::tree/"]
        return subprocess.run(words, capture_output=True, timeout=120)

    def outside(self) -> Mapping[str, str]:
        """All that no attacker may change: the receiver's own files, the other trees, the archive, what was told."""
        archive = self.receiver.aws.client("s3").list_objects_v2(Bucket="archive").get("Contents", [])
        events = [str(event["detail"]) for event in self.receiver.aws.events()]
        return {
            **dict(self._files()),
            **{f"archive: {each['Key']}": each["ETag"] for each in archive if not _OWN.search(each["Key"])},
            **{f"event {number}": said for number, said in enumerate(events) if "'us" not in said},
            **{place: PLANTED for place in ELSEWHERE if (Path(place) / PLANTED).exists()},
        }

    def _files(self) -> Iterator[tuple[str, str]]:
        root = self.receiver.root.parent
        for where, directories, files in os.walk(root):
            for path in (Path(where) / name for name in sorted((*directories, *files))):
                name = str(path.relative_to(root))
                # A gate whose host has gone away may still be at work on what is that host's own.
                if not _OWN.search(name) and not _GROWING.fullmatch(name):
                    yield name, _described(path)


def _described(path: Path) -> str:
    """What would show that somebody was there; not when it was, which a push that changes nothing may touch."""
    found = path.lstat()
    said = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
    if path.is_symlink():
        return f"{said} {path.readlink()}"
    return f"{said} {found.st_nlink} {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else said
