"""Files back from a machine that was opened: the agent as a person starts it, a real sshd, gate and confined rsync."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_console.sandbox import awkward
from tests.local.bringing_back import Ended, ask_as, below, given_back
from tests.local.opened_machine import POINT, Opened, opened
from tests.local.own_nights import differing
from tests.local.receiver_machine import (
    MAY_MOUNT,
    MISSING,
    PATIENCE_SECONDS,
    UNPRIVILEGED,
    Receiver,
    a_receiver,
    an_aws,
    as_whom,
    wait_until,
)

IS_ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@dataclass
class Us0:
    """The host, whose night is over; `etc` has its configuration, and its history is below it."""

    receiver: Receiver
    machine: Opened
    place: Path

    @property
    def tree(self) -> Path:
        return self.place / "us0"

    def paths(self, **settings: str) -> HostPaths:
        return self.receiver.configure("us0", self.tree, self.place / "etc-us0", **settings)

    def ask(self, command: str, *words: str, cwd: Path, **settings: str) -> Ended:
        program = [sys.executable, str(self.receiver.agent)]
        return ask_as(program, self.paths(**settings), command, *words, cwd=cwd)

    @property
    def source(self) -> tuple[str, str]:
        return "--from", self.machine.address


@pytest.fixture(scope="module")
def us0(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Us0]:
    place = tmp_path_factory.mktemp("hosts")
    (awkward.grow if IS_ROOT else awkward.grow_plain)(place / "us0/srv")
    (place / "us0/large").write_bytes(os.urandom(4 << 20))
    (place / "eu0").mkdir()
    (place / "eu0/secret").write_text("of eu0")
    kind = confine.SEPARATE if IS_ROOT else confine.OWN
    with an_aws() as aws, a_receiver(aws, kind) as receiver:
        for host in ("us0", "eu0"):
            ended = receiver.back_up(host, place / host, place / f"etc-{host}")
            assert ended.returncode == 0, ended.stderr + receiver.log()
        with opened(receiver) as machine:
            yield Us0(receiver, machine, place)


def test_the_point_is_listed(us0: Us0, tmp_path: Path) -> None:
    ended = us0.ask("list", *us0.source, "--json", cwd=tmp_path)

    found = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert [point["name"] for point in found["points"]] == [POINT]
    assert found["until"]


def test_every_kind_of_entry_comes_back(us0: Us0, tmp_path: Path) -> None:
    ended = us0.ask("restore", f"{us0.tree}/srv", *us0.source, "--at", "2026-11-23", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert differing(below(tmp_path / f"restored-us0-{POINT}", "srv"), given_back(us0.tree, "srv")) == {}


@pytest.fixture
def home() -> Iterator[Path]:
    """A place that somebody else can get to."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-home-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.mark.skipif(not (IS_ROOT and MAY_MOUNT), reason="becoming somebody else takes root and a mount namespace")
def test_who_is_not_root_gets_the_contents_and_is_told_what_is_left_out(us0: Us0, home: Path, tmp_path: Path) -> None:
    key = home / "key"
    shutil.copy(us0.receiver.hosts["us0"].private, key)
    paths = us0.receiver.configure("us0", us0.tree, home / "etc", KEY=str(key))
    within, _ = as_whom(False, tmp_path, home)
    program = [sys.executable, str(us0.receiver.agent)]

    ended = ask_as(program, paths, "restore", f"{us0.tree}/srv", *us0.source, cwd=home, within=within)

    back = home / f"restored-us0-{POINT}/srv"
    assert ended.returncode == 0, ended.stderr
    assert "not root: owners, groups, device files and set-user-id bits are not given back" in ended.stderr
    assert (back / "setuid").stat().st_uid == UNPRIVILEGED
    assert stat.S_IMODE((back / "setuid").stat().st_mode) == 0o755
    assert (back / "unreadable").stat().st_mode & 0o777 == 0
    assert not (back / "dev/n0").exists()
    assert [name for name in os.listxattr(back / "capable") if "capability" in name] == []
    assert os.getxattr(back / "now", "user.note") == b"\0binary\xff"


def test_without_an_address_it_says_what_to_ask_the_operator_for(us0: Us0, tmp_path: Path) -> None:
    ended = us0.ask("list", cwd=tmp_path)
    restored = us0.ask("restore", f"{us0.tree}/srv", cwd=tmp_path)

    assert (ended.returncode, restored.returncode) == (1, 1)
    for said in (ended.stdout, restored.stderr):
        assert "ask the operator for: ebbtide open us0 --at 20" in said
        assert "nights of this host that were recorded complete (UTC): 20" in said


@pytest.mark.fault("N7")
def test_who_answers_with_another_key_than_the_pinned_one_is_read_nothing_from(us0: Us0, tmp_path: Path) -> None:
    pinned = tmp_path / "known_hosts"
    pinned.write_text(f"localhost {us0.receiver.hosts['eu0'].public}\n")

    ended = us0.ask("restore", f"{us0.tree}/srv", *us0.source, cwd=tmp_path, KNOWN_HOSTS=str(pinned))

    assert ended.returncode == 75
    assert "nothing was sent" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["known_hosts"]


def test_another_hosts_key_gets_in_nowhere(us0: Us0, tmp_path: Path) -> None:
    key = str(us0.receiver.hosts["eu0"].private)

    ended = us0.ask("restore", f"{us0.tree}/srv", *us0.source, cwd=tmp_path, KEY=key)

    assert ended.returncode == 75
    assert "Permission denied" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_cut_off_in_a_file_it_goes_on_from_what_has_arrived(us0: Us0, tmp_path: Path) -> None:
    slow = tmp_path / "rsync"
    slow.write_text('#!/bin/sh\ncase "$*" in *progress2*) set -- --bwlimit=300k "$@";; esac\nexec rsync "$@"\n')
    slow.chmod(0o755)
    paths = us0.paths(RSYNC=str(slow))
    words = ["restore", f"{us0.tree}/large", *us0.source, "--etc", str(paths.etc), "--state", str(paths.state)]
    argv = [sys.executable, str(us0.receiver.agent), *words]
    begun = tmp_path / f"restored-us0-{POINT}.unfinished-{hashlib.sha256(b'large').hexdigest()[:8]}"

    with subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as restoring:
        wait_until(lambda: sum(path.stat().st_size for path in begun.glob(".large.*")) > 500_000, "half a file")
        restoring.send_signal(signal.SIGTERM)
        restoring.wait(PATIENCE_SECONDS)
    kept = (begun / ".ebbtide-partial/large").stat().st_size
    again = us0.ask("restore", f"{us0.tree}/large", *us0.source, cwd=tmp_path)

    assert restoring.returncode == 143
    assert 0 < kept < 4 << 20
    assert again.returncode == 0, again.stderr
    restored = tmp_path / f"restored-us0-{POINT}"
    assert (restored / "large").read_bytes() == (us0.tree / "large").read_bytes()
    assert sorted(path.name for path in restored.iterdir()) == ["large"]
