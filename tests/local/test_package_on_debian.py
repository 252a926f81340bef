"""The package on a bare Debian: dpkg takes it, a night runs, and after a purge the tree is as it was."""

import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from enclosed import in_an_enclosure, wait_until

from ebbtide_console.sandbox import kernel
from tests.debian import a_machine_image
from tests.local.booting import a_control_group, asked, boot_argv, init_of
from tools.build_deb import build

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="installing a package needs root"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg is not installed"),
]

RECEIVER = "backup.example.org"
PROGRAM = "/usr/bin/ebbtide-agent"
RECEIVERS_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'B' * 43}"
# What dpkg itself remembers.
DPKGS_OWN = ("var/lib/dpkg/", "var/log/dpkg.log")


@pytest.fixture
def image() -> Path:
    return a_machine_image()


class Host:
    """A Debian written over in memory only. `changed` is that memory."""

    def __init__(self, image: Path, place: Path) -> None:
        self.root, self.changed, self._image = place / "root", place / "changed", image
        kernel.mount("tmpfs", place, "tmpfs", options="mode=755")
        for directory in (self.root, self.changed, place / "work"):
            directory.mkdir()
        options = f"lowerdir={image},upperdir={self.changed},workdir={place / 'work'}"
        kernel.mount("overlay", self.root, "overlay", options=options)
        kernel.mount("proc", self.root / "proc", "proc")
        shutil.copyfile(build(place), self.root / "run/agent.deb")

    def run(self, *argv: str, code: int = 0) -> str:
        """A program of the host's; what it printed to standard output."""
        ended = subprocess.run(["chroot", str(self.root), *argv], capture_output=True, text=True)
        assert ended.returncode == code, f"{argv}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def minute(self) -> int:
        """Of its nights, as install has drawn it."""
        return int(json.loads((self.root / "var/lib/ebbtide/installed.json").read_bytes())["minute"])

    def was_installed_long_ago(self) -> None:
        os.utime(self.root / "var/lib/ebbtide/installed.json", (0, 0))

    def dpkg(self, *words: str) -> str:
        return self.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *words)

    def left_over(self) -> Iterator[str]:
        """What is there that was not, and every file that is no longer what it was."""
        for path in sorted(self.changed.rglob("*")):
            name = str(path.relative_to(self.changed))
            is_new = path.is_symlink() or not path.is_dir() or not (self._image / name).is_dir()
            if is_new and not name.startswith((*DPKGS_OWN, "run/")):
                yield name

    def mode(self, name: str) -> str:
        return oct((self.root / name).stat().st_mode & 0o777)

    def files(self) -> dict[str, bytes]:
        """What is in what is left over."""
        paths = {name: self.changed / name for name in self.left_over()}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file() and not path.is_symlink()}

    def installed(self) -> str:
        """The package and its own install; the lines for the policy."""
        self.dpkg("--install", "/run/agent.deb")
        words = ("--host", "us0", "--target", f"receiver://{RECEIVER}", "--host-key", RECEIVERS_KEY)
        return self.run("ebbtide-agent", "install", *words)

    def backs_up_into(self, directory: str) -> Path:
        """One night, of /etc; the snapshot that it left."""
        config = self.root / "etc/backup_config"
        config.write_text(config.read_text().replace(f"receiver://{RECEIVER}", directory))
        (self.root / "etc/backup_include").write_text("/etc\n")
        (self.root / directory[1:]).mkdir()
        self.run("ebbtide-agent", "run", "--progress", "none")
        (snapshot,) = (self.root / directory[1:]).glob("2*")
        return snapshot


in_a_debian_of_its_own = functools.partial(in_an_enclosure, within=("unshare", "--net"))


@in_a_debian_of_its_own
def test_removed_and_not_purged_it_starts_nothing_and_can_come_back(image: Path, tmp_path: Path) -> None:
    host = Host(image, tmp_path)
    lines = host.installed()
    before = host.files()
    line = (host.root / "etc/cron.d/ebbtide-agent").read_text().splitlines()[-1]

    host.dpkg("--remove", "ebbtide-agent")
    night = line.partition(" root ")[2]
    said = host.run("sh", "-c", night, code=1)
    kept = {name for name in host.files() if not name.startswith("usr/")}
    host.dpkg("--install", "/run/agent.deb")

    assert night == f"[ -x {PROGRAM} ] && {PROGRAM} run --catch-up --progress none"
    assert said == ""
    assert kept == {name for name in before if not name.startswith("usr/")}
    assert host.run("ebbtide-agent", "install") == lines
    assert host.files() == before


@in_a_debian_of_its_own
def test_it_is_installed_runs_a_night_and_is_purged_without_a_trace_but_for_backups(
    image: Path, tmp_path: Path
) -> None:
    host = Host(image, tmp_path)

    lines = host.installed()
    snapshot = host.backs_up_into("/var/lib/ebbtide/backup")

    assert host.dpkg("--verify", "ebbtide-agent") == ""
    assert "[host.us0]" in lines
    no_cron = "/etc/cron.d/ebbtide-agent is there, and no cron runs that would read it"
    assert no_cron in host.run("ebbtide-agent", "check", code=78)
    assert [host.mode(name) for name in ("etc/ebbtide", "var/lib/ebbtide")] == ["0o700", "0o700"]
    assert [host.mode(name) for name in ("etc/ebbtide/key", "usr/bin/ebbtide-agent")] == ["0o600", "0o755"]
    assert (snapshot / "tree/etc/debian_version").read_bytes() == (image / "etc/debian_version").read_bytes()

    host.dpkg("--purge", "ebbtide-agent")

    left = {name for name in host.left_over() if not name.startswith("var/lib/ebbtide/backup/")}
    assert left == {"etc/backup_include", "var/lib/ebbtide", "var/lib/ebbtide/backup"}
    assert (snapshot / "tree/etc/debian_version").exists()
    shutil.rmtree(host.root / "var/lib/ebbtide")
    (host.root / "etc/backup_include").unlink()
    assert list(host.left_over()) == []


class Booted:
    """That Debian under its own systemd."""

    def __init__(self, nspawn: "subprocess.Popen[bytes]") -> None:
        self._nspawn = nspawn

    def run(self, *argv: str) -> str:
        return asked(self._nspawn.pid, *argv)

    def shown(self, unit: str, what: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", what, unit)

    def is_up(self) -> bool:
        with suppress(OSError, IndexError):
            return asked(self._nspawn.pid, "systemctl", "is-system-running", check=False) in ("running", "degraded")
        return False

    def snapshots_after_a_look(self, host: Host) -> list[Path]:
        """What is in /backup once systemd has started what it starts each hour."""
        self.run("systemctl", "start", "ebbtide-agent.service")
        assert self.shown("ebbtide-agent.service", "Result") == "success"
        return list((host.root / "backup").glob("2*"))

    def next_start(self) -> datetime:
        (timer,) = json.loads(self.run("systemctl", "list-timers", "--output=json", "ebbtide-agent.timer"))
        return datetime.fromtimestamp(timer["next"] / 1e6, UTC)


@contextmanager
def booted(host: Host) -> Iterator[Booted]:
    (host.root / "etc/cloud/cloud-init.disabled").touch()
    kernel.detach_mount(host.root / "proc")
    kernel.mount("tmpfs", Path("/run"), "tmpfs", options="mode=755")  # nspawn keeps its locks there
    with a_control_group() as group:
        nspawn = subprocess.Popen(boot_argv(group, "us0", host.root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            machine = Booted(nspawn)
            wait_until(machine.is_up, "the machine being up")
            yield machine
        finally:
            os.kill(int(init_of(nspawn.pid)), signal.SIGKILL)
            nspawn.communicate()


@pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed")
@in_a_debian_of_its_own
def test_systemd_has_it_begin_what_is_due_and_nothing_twice_and_lets_go_of_it(image: Path, tmp_path: Path) -> None:
    host = Host(image, tmp_path)
    host.dpkg("--install", "/run/agent.deb")
    with booted(host) as machine:
        machine.run("mkdir", "/backup")
        (host.root / "etc/backup_include").write_text("/etc\n")

        machine.run("ebbtide-agent", "install", "--host", "us0", "--target", "/backup")
        first, first_look = host.minute(), machine.next_start().minute
        checked = machine.run("ebbtide-agent", "check")
        of_today = machine.snapshots_after_a_look(host)
        host.was_installed_long_ago()
        made_good = machine.snapshots_after_a_look(host)
        once_more = machine.snapshots_after_a_look(host)
        machine.run("ebbtide-agent", "install", "--window", "12:00-16:00")
        second, second_look = host.minute(), machine.next_start().minute

        assert (120 <= first < 240, 720 <= second < 840) == (True, True)
        assert (first_look, second_look) == (first % 60, second % 60)
        assert "timers.target.wants/ebbtide-agent.timer" in checked
        assert machine.shown("ebbtide-agent.timer", "Persistent") == "yes"
        assert (of_today, len(made_good)) == ([], 1)
        assert once_more == machine.snapshots_after_a_look(host) == made_good

        machine.run("ebbtide-agent", "uninstall", "--yes")

        assert machine.shown("ebbtide-agent.timer", "LoadState") == "not-found"
        assert not list((host.root / "var/lib/systemd/timers").glob("*ebbtide*"))
        assert list((host.root / "backup").glob("2*")) == made_good
