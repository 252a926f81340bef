"""A host's key changes with two valid at a time: the host offers both, and lets go of the old one once it may."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from enclosed import wait_until

from ebbtide_agent import keys
from ebbtide_agent.errors import TransientError
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host import link
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.way import way_to
from ebbtide_agent.paths import HostPaths
from tests.local.ports import a_free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
HELLO = Path(__file__).parents[1] / "contract/wire/hello.json"
SETTINGS = """
ListenAddress 127.0.0.1
Port {port}
HostKey {place}/host-key
AuthorizedKeysFile {place}/authorized_keys
PidFile none
PermitRootLogin forced-commands-only
UsePAM no
StrictModes no
"""

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="openssh-server is not installed")


@dataclass
class Door:
    """An sshd that says hello to whoever has a key that it is told to take, and the host that comes to it."""

    paths: HostPaths
    config: Config

    @property
    def key(self) -> Path:
        return self.config.key

    @property
    def following(self) -> Path:
        return keys.next_of(self.key)

    def take(self, *public: str) -> None:
        lines = "".join(f'restrict,command="cat {HELLO}" {key}\n' for key in public)
        (self.paths.etc / "authorized_keys").write_text(lines)

    def hello(self) -> list[str]:
        """What the host says while it says hello, once."""
        said: list[str] = []
        world = link.World(lambda: datetime.now(UTC), say=said.append)
        way_to(self.config, self.paths, world).hello(datetime.now(UTC) + timedelta(seconds=1))
        return said


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    keys.make(tmp_path / "host-key", "backup")
    keys.make(tmp_path / "key", "us0")
    keys.make(tmp_path / "key.next", "us0")
    port = a_free_port()
    (tmp_path / "known_hosts").write_text(f"localhost {keys.public(tmp_path / 'host-key')}\n")
    (tmp_path / "sshd_config").write_text(SETTINGS.format(port=port, place=tmp_path))
    (tmp_path / "backup_config").write_text(
        f"HOST=us0\nTARGET=receiver://localhost:{port}\nKEEP=7\nUSER={getpass.getuser()}\n"
        f"KEY={tmp_path}/key\nKNOWN_HOSTS={tmp_path}/known_hosts\n"
    )
    with _an_sshd(tmp_path):
        paths = HostPaths(tmp_path, tmp_path)
        yield Door(paths, configuration.load(paths))


@contextmanager
def _an_sshd(place: Path) -> Iterator[None]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = place / "log"
    with log.open("wb") as output:
        sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(place / "sshd_config")], stderr=output)
    try:
        wait_until(lambda: "Server listening" in log.read_text() or sshd.poll() is not None, "sshd")
        assert sshd.poll() is None, log.read_text()
        yield
    finally:
        sshd.terminate()
        sshd.wait()


def test_while_the_receiver_takes_only_the_old_key_it_is_used_and_stays(door: Door) -> None:
    old = keys.public(door.key)
    door.take(old)

    said = door.hello()

    assert f"localhost does not take {door.following} yet" in said[-1]
    assert keys.public(door.key) == old
    assert door.following.exists()


def test_once_the_receiver_takes_both_the_new_key_is_the_key(door: Door) -> None:
    old, new = keys.public(door.key), keys.public(door.following)
    door.take(old, new)

    said = door.hello()

    assert "the old one can be taken out over there" in said[-1]
    assert keys.public(door.key) == new
    assert keys.public_of(door.key).read_text().startswith(new)
    assert not door.following.exists()
    assert not keys.public_of(door.following).exists()


def test_a_policy_that_has_only_the_new_key_locks_nobody_out(door: Door) -> None:
    new = keys.public(door.following)
    door.take(new)

    door.hello()

    assert keys.public(door.key) == new


def test_a_receiver_that_takes_neither_is_told_as_it_is_and_no_key_is_lost(door: Door) -> None:
    both = keys.public(door.key), keys.public(door.following)
    door.take()

    with pytest.raises(TransientError, match="Permission denied"):
        door.hello()

    assert (keys.public(door.key), keys.public(door.following)) == both
