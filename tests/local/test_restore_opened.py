"""Files back from a machine that was opened, to its host and to an operator: a real sshd, gate and confined rsync."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.aws.archive import S3Archive
from chalicelib.core.ids import parse_run
from chalicelib.ports import Archive
from ebbtide_agent.entry import read_real
from ebbtide_agent.keys import public_of
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.restore.compare import compare
from ebbtide_console import session
from ebbtide_console.cli import get
from ebbtide_console.cli.main import main
from ebbtide_console.sandbox import awkward
from tests.builders import a_snapshot
from tests.fakes import FakeArchive, FakeMachines, FakeVolumes
from tests.local.bringing_back import Ended, ask_as, below, given_back, rot
from tests.local.opened_machine import POINT, Opened, opened
from tests.local.own_nights import differing
from tests.local.receiver_machine import (
    BUCKET,
    MAY_MOUNT,
    MISSING,
    PATIENCE_SECONDS,
    RUN,
    UNPRIVILEGED,
    VOLUME,
    Receiver,
    a_key,
    a_receiver,
    an_aws,
    as_whom,
    report_key,
    wait_until,
)

BRIEF = f"runs/{RUN}/{VOLUME}/brief.json"
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
        ended = receiver.back_up("us0", place / "us0", place / "etc-us0")
        assert ended.returncode == 0, ended.stderr + receiver.log()
        receiver.bring("eu0", place / "eu0")
        with opened(receiver, readers=[public_of(a_key(place / "operator")).read_text().strip()]) as machine:
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


def test_what_only_its_content_tells_from_what_it_was_is_brought_back(us0: Us0, tmp_path: Path) -> None:
    asked = ("restore", f"{us0.tree}/large", *us0.source, "--into", "back", "--yes")
    us0.ask(*asked, cwd=tmp_path)
    rot(tmp_path / "back/large")

    ended = us0.ask(*asked, cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "back/large").read_bytes() == (us0.tree / "large").read_bytes()


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
    pinned.write_text(f"localhost {us0.receiver.hosts['eu0'].taken[0]}\n")

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


# -- to an operator: `ebbtide get` -------------------------------------------------------------------------------------


@dataclass
class Operator:
    """Someone with a key that the opened machine takes. `asked` are the functions that were invoked for them.

    `is_new`: nobody had opened that point before. `meanwhile` is what happens while it boots.
    """

    key: Path
    machine: Opened
    tree: Path
    asked: list[str]
    is_new: bool = True
    meanwhile: Callable[[], object] = lambda: None

    def get(self, path: str, *words: str) -> int:
        return main(["get", f"us0:{path}", "--key", str(self.key), *words])


@pytest.fixture
def operator(us0: Us0, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    machine = us0.machine
    operator = Operator(us0.place / "operator", machine, us0.tree, [])
    standing = {
        "recovery": machine.recovery, "host": "us0", "at": "2026-11-23T02:45:00Z", "until": "2099-01-01T00:00:00Z",
        "state": "open", "verdict": None, "findings": [], "address": None, "waiting": [],
    }  # fmt: skip

    def invoke(function: str, _: Mapping[str, Any]) -> Mapping[str, Any]:
        operator.asked.append(function)
        if function == "open_host":
            return {**standing, "is_new": operator.is_new}
        operator.meanwhile()
        return {**standing, "verdict": "opened", "address": "127.0.0.1"}

    machine.receiver.aws.put(BRIEF, machine.receiver.aws.body("brief"))
    archive = S3Archive(SimpleNamespace(s3=machine.receiver.aws.client("s3")), BUCKET)  # type: ignore[arg-type]
    monkeypatch.setattr(session, "invoke", invoke)
    monkeypatch.setattr(session, "the_account", lambda: an_account(archive))
    monkeypatch.setattr(get, "SSH_PORT", machine.port)
    monkeypatch.setattr(get, "LOGIN", machine.receiver.user)
    monkeypatch.chdir(tmp_path)
    return operator


def an_account(archive: Archive) -> session.Account:
    volumes = FakeVolumes(FakeMachines())
    volumes.snapshots["snap-1"] = a_snapshot("snap-1", parse_run(RUN), ("us0a",))
    return session.Account("123456789012", "us-east-1", BUCKET, archive, volumes)


def names_in(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()]


def test_a_file_arrives_as_it_was_and_the_point_is_closed_again(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = operator.get("/srv/setgid/file")

    found, was = tmp_path / "file", operator.tree / "srv/setgid/file"
    assert code == 0, capsys.readouterr().err
    assert names_in(tmp_path) == ["file"]
    assert (found.read_bytes(), found.stat().st_mode) == (was.read_bytes(), was.stat().st_mode)
    assert (found.stat().st_mtime_ns, found.stat().st_uid) == (was.stat().st_mtime_ns, was.stat().st_uid)
    assert operator.asked == ["open_host", "recover", "close_host"]
    assert capsys.readouterr().out.splitlines()[-1] == f"{found}: 6 B, as backed up"


def test_what_somebody_else_has_opened_stays_open_even_if_it_was_still_booting(operator: Operator) -> None:
    operator.is_new = False

    assert operator.get("/srv/old") == 0
    assert operator.asked == ["open_host", "recover"]


def test_a_directory_arrives_as_a_tar_that_has_all_of_it(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = operator.get("/srv", "--to", "data.tar")
    assert code == 0, capsys.readouterr().err
    unpack = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", "data.tar"]
    subprocess.run(unpack, check=True, stderr=subprocess.DEVNULL)

    found = compare(
        read_real(operator.tree / "srv", lambda where, _: sha256_of(where)),
        read_real(tmp_path / "srv", lambda where, _: sha256_of(where)),
    )
    assert found.findings == (("socket: missing",) if IS_ROOT else ())
    assert found.entries == len(list(read_real(tmp_path / "srv"))) + found.missing > 20


def test_what_came_otherwise_than_it_was_backed_up_is_not_handed_over(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws = operator.machine.receiver.aws
    report = json.loads(aws.body(report_key("us0a")))
    key = report["receiver"]["manifest"]["key"]
    forged = subprocess.run(["gzip", "-dc"], input=aws.body(key), capture_output=True, check=True).stdout.replace(
        sha256_of(operator.tree / "srv/old").encode(), b"0" * 64
    )
    packed = subprocess.run(["gzip"], input=forged, capture_output=True, check=True).stdout
    (tmp_path / "forged").write_bytes(packed)
    report["receiver"]["manifest"]["sha256"] = sha256_of(tmp_path / "forged")
    (tmp_path / "forged").unlink()
    opening = f"recoveries/{operator.machine.recovery}/opened.json"
    objects = {
        BRIEF: aws.body(BRIEF),
        report_key("us0a"): json.dumps(report).encode(),
        key: packed,
        opening: aws.body(opening),
    }
    monkeypatch.setattr(session, "the_account", lambda: an_account(FakeArchive(objects)))

    code = operator.get("/srv/old")

    assert code == 1
    assert "what came is not what was backed up: srv/old: content: expected sha256 " in capsys.readouterr().err
    assert names_in(tmp_path) == []
    assert operator.asked[-1] == "close_host"


def test_what_was_not_there_is_said_with_what_was_near_it(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    code = operator.get("/srv/readonyl")

    assert code == 1
    assert "/srv/readonyl was not there at 2026-11-23.1; /srv held readonly" in capsys.readouterr().err


def test_a_file_that_came_there_meanwhile_is_not_written_over(operator: Operator, tmp_path: Path) -> None:
    operator.meanwhile = lambda: (tmp_path / "old").write_text("mine")

    code = operator.get("/srv/old")

    assert (code, (tmp_path / "old").read_text(), names_in(tmp_path)) == (1, "mine", ["old"])


def test_a_key_that_the_policy_does_not_name_is_told_what_it_takes(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = replace(operator, key=a_key(tmp_path / "stranger"))

    code = stranger.get("/srv/old")

    assert code == 1
    assert "Permission denied (publickey)" in (said := capsys.readouterr().err)
    assert "your key among restore.readers" in said
