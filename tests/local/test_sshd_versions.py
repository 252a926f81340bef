"""What sshd makes of its configuration: this machine's own, and that of the image which a receiver is launched from."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import sshd
from tests.debian import its_programs

OWN = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.skipif(OWN is None or shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")


@pytest.mark.parametrize("of_the_image", [False, True])
@pytest.mark.parametrize("crowd", [sshd.CROWD, sshd.FEW])
def test_no_address_is_turned_away_for_what_one_host_behind_it_has_done(
    of_the_image: bool, crowd: sshd.Crowd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = its_programs(("sshd",), tmp_path / "its") if of_the_image else Path(str(OWN)).parent
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    paths = MachinePaths(tmp_path / "machine")
    paths.run.mkdir(parents=True)
    door = sshd.Door(22, ("false",), {}, os.geteuid() == 0, strict=True, may_unlock=False, knocking=crowd)

    config = sshd.write_files(paths, (), (tmp_path / "key").read_text(), door)

    told = subprocess.run([str(programs / "sshd"), "-T", "-f", str(config)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert re.findall("^persourcemaxstartups .*$", told.stdout, re.MULTILINE) == [
        f"persourcemaxstartups {crowd.of_one}"
    ]
    assert re.findall("^maxstartups .*$", told.stdout, re.MULTILINE) == [f"maxstartups {crowd.free}:30:{crowd.most}"]
    punishing = set(re.findall("^persourcepenalties .*$", told.stdout, re.MULTILINE))
    assert punishing <= {"persourcepenalties no"}
    assert punishing or not of_the_image
    unused = re.findall("^unusedconnectiontimeout .*$", told.stdout, re.MULTILINE)
    assert set(unused) <= {f"unusedconnectiontimeout {sshd.UNUSED_SECONDS}"}
    assert unused or not of_the_image


@pytest.mark.parametrize(
    ("version", "told"), [("OpenSSH_9.1p1", False), ("OpenSSH_9.2p1 Debian-2", True), ("OpenSSH_10.0p2", True)]
)
def test_an_sshd_is_told_to_end_unused_connections_only_where_it_knows_how_to(
    version: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "sshd"
    asked.write_text(f"#!/bin/sh\necho {version} >&2\n")
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    paths = MachinePaths(tmp_path / "machine")
    paths.run.mkdir(parents=True)
    door = sshd.Door(22, ("false",), {}, as_root=False, strict=True, may_unlock=False, knocking=sshd.FEW)

    config = sshd.write_files(paths, (), "a key", door)

    assert ("UnusedConnectionTimeout" in config.read_text()) is told
