"""A machine that is not ours: a real sshd on loopback whose keys start rsync and nothing else, without any shell."""

import getpass
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.local.ports import a_free_port
from tests.local.programs import a_quick_sshd

IS_ROOT = os.geteuid() == 0
# On the far side we are nobody special, or fake super would have nothing to do.
UNPRIVILEGED = 1234567
PATIENCE_SECONDS = 120.0
_RSYNC_ONLY = """
import os, shlex, sys
home, user = sys.argv[1:]
argv = shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
if argv[:2] != ["rsync", "--server"]:
    sys.exit(f"rsync and nothing else: {argv[:1]}")
if user:
    argv = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *argv]
os.chdir(home)
os.execvpe(argv[0], argv, {"PATH": "/usr/bin:/bin"})
"""


@dataclass(frozen=True)
class FarSide:
    """Where it keeps things, and how to get there."""

    place: Path
    port: int
    key: Path
    known_hosts: Path

    @property
    def home(self) -> Path:
        """Where a login begins."""
        return self.place / "home"

    def target(self, path: str, name: str = "localhost") -> str:
        return f"ssh://{getpass.getuser()}@{name}:{self.port}{path}"

    @property
    def options(self) -> list[str]:
        return ["-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "BatchMode=yes"]

    def ssh(self, *words: str) -> "subprocess.CompletedProcess[str]":
        argv = [
            "ssh",
            "-F",
            "none",
            *self.options,
            "-i",
            str(self.key),
            "-p",
            str(self.port),
            f"{getpass.getuser()}@localhost",
            *words,
        ]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@contextmanager
def a_far_side(address: str = "localhost", port: int | None = None) -> Iterator[FarSide]:
    """It listens at this address, on a port that is free if no other is said, and is known by it."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-far-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        far = FarSide(place, port or a_free_port(), place / "key", place / "known_hosts")
        far.home.mkdir()
        if IS_ROOT:
            os.chown(far.home, UNPRIVILEGED, UNPRIVILEGED)
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for key in (far.key, place / "host-key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        host_key = (place / "host-key.pub").read_text()
        far.known_hosts.write_text("".join(f"{name} {host_key}" for name in (f"[{address}]:{far.port}", address)))
        user = str(UNPRIVILEGED) if IS_ROOT else ""
        (place / "rsync-only").write_text(_RSYNC_ONLY)
        command = shlex.join([sys.executable, "-I", str(place / "rsync-only"), str(far.home), user])
        quoted = command.replace('"', '\\"')
        (place / "authorized").write_text(f'restrict,command="{quoted}" {far.key.with_suffix(".pub").read_text()}')
        settings = ["AuthenticationMethods publickey", "UsePAM no", "StrictModes no", "PidFile none",
                    f"PermitRootLogin {'forced-commands-only' if IS_ROOT else 'no'}", f"Port {far.port}",
                    f"ListenAddress {address}", f"HostKey {place}/host-key", f"SetEnv HOME={far.home}",
                    f"AuthorizedKeysFile {place}/authorized"]  # fmt: skip
        (place / "config").write_text("\n".join(settings) + "\n")
        with (place / "log").open("wb") as log:
            argv = [str(a_quick_sshd()), "-D", "-e", "-f", str(place / "config")]
            sshd = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            _wait_for(place / "log", "Server listening", sshd)
            yield far
        finally:
            sshd.terminate()
            sshd.wait(PATIENCE_SECONDS)


def _wait_for(log: Path, words: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while words not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
