"""A machine opened to one host, on loopback: the built agent on the volume that a night's receiver has let go of."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from ebbtide_agent.receiver import confine
from tests.local.ports import a_free_port
from tests.local.receiver_machine import (
    BUCKET,
    PATIENCE_SECONDS,
    REGION,
    RUN,
    SITE_PACKAGES,
    VOLUME,
    Receiver,
    as_whom,
    path_of,
    wait_until,
)

NUMBERS = count(1)
POINT = "2026-11-23.1"


@dataclass
class Opened:
    """The machine: a root of its own, one process, and the night's receiver whose volume it serves."""

    receiver: Receiver
    recovery: str
    root: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> str:
        return (self.root / "log").read_text()

    def ssh(self, host: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
        return self._there().ssh(host, *words)

    def rsync(self, host: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
        return self._there().rsync(host, *words)

    def by_ssh(self, host: str) -> tuple[str, str]:
        return "-e", shlex.join(self._there().ssh_argv(host))

    def find(self, name: str) -> dict[str, Any] | None:
        return self.receiver.aws.find(f"recoveries/{self.recovery}/{name}.json")

    def _there(self) -> Receiver:
        """The same hosts and the same pinned key, at this machine's port."""
        there = self.receiver
        return Receiver(
            there.root, there.store, self.port, there.user, there.aws, there.hosts, there.start, there.process,
            there.agent, there.kind,
        )  # fmt: skip


def an_opening(
    receiver: Receiver, recovery: str, host: str, minutes: float, readers: Sequence[str], **changes: Any
) -> dict[str, Any]:
    """The brief, as the control plane writes it."""
    key = receiver.hosts[host]
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    serve = {
        "keys": [*key.taken, *readers],
        "uid": 1_000_000 + int(key.id, 36),
        "until": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host_key_parameter": "/host-key",
        "filesystem": "ext4",
    }
    example = json.loads(Path("tests/contract/wire/brief-opening.json").read_text())
    about = {"recovery": recovery, "host": host, "id": key.id, "run": RUN, "volume": {"id": VOLUME}}
    return {**example, **about, "serve": serve, **changes}


@contextmanager
def opened(
    receiver: Receiver,
    host: str = "us0",
    minutes: float = 60,
    kind: str | None = None,
    readers: Sequence[str] = (),
    **changes: Any,
) -> Iterator[Opened]:
    """Open the volume of a night that is over to one host, and wait until sshd answers or the machine is off.

    That may be done again and again: to read changes nothing. Its walls are of the night's kind, if no other is said.
    """
    receiver.process.wait(PATIENCE_SECONDS)
    place, number = receiver.root.parent, next(NUMBERS)
    recovery, root = f"us0a/2026-11-24/{number}", place / f"opened-{number}"
    device = root / "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"
    for new in (device.parent, root / "home", root / "etc/ebbtide"):
        new.mkdir(parents=True)
    device.symlink_to(receiver.store)
    brief = f"recoveries/{recovery}/brief.json"
    receiver.aws.put(brief, json.dumps(an_opening(receiver, recovery, host, minutes, readers, **changes)).encode())
    instance = {"role": "recovery", "id": recovery, "attempt": 1, "bucket": BUCKET, "region": REGION, "brief": brief}
    (root / "etc/ebbtide/instance.json").write_text(json.dumps({"schema": 1, **instance}))
    argv, _ = as_whom(receiver.kind == confine.SEPARATE, place, root)
    port = a_free_port()
    machine = Opened(receiver, recovery, root, port, _started(argv, receiver, root, port, kind or receiver.kind))
    try:
        wait_until(lambda: machine.find("opened") or machine.process.poll() is not None, "the opened machine")
        yield machine
    finally:
        machine.process.send_signal(signal.SIGTERM)
        try:
            machine.process.wait(PATIENCE_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(machine.process.pid, signal.SIGKILL)


def _started(argv: Sequence[str], receiver: Receiver, root: Path, port: int, kind: str) -> "subprocess.Popen[bytes]":
    environment = {
        **receiver.aws.environment,
        "EBBTIDE_ROOT": str(root),
        "EBBTIDE_SSH_PORT": str(port),
        "HOME": str(root / "home"),
        "PATH": path_of(kind, root.parent),
        "PYTHONPATH": SITE_PACKAGES,
    }
    words = [*argv, sys.executable, str(receiver.agent), "recovery", "boot"]
    with (root / "log").open("wb") as output:
        return subprocess.Popen(words, stdout=output, stderr=output, env=environment, start_new_session=True)
