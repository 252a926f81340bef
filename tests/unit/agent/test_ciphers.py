"""Where the processor knows AES, ssh is told to use it, in words that it takes, and to refuse nothing for it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ebbtide_agent.host import ciphers
from ebbtide_agent.host.ciphers import options
from ebbtide_agent.host.link import ssh
from ebbtide_agent.host.login import Login

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")

X86 = "processor\t: 0\nflags\t\t: fpu vme pclmulqdq {} avx\nbugs\t\t: spectre_v1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {} pmull sha1\nCPU part\t: 0xd0c\n"


def composed(*words: str) -> list[str]:
    """The ciphers that ssh would offer."""
    argv = ["ssh", "-F", "none", "-G", *words, "host"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line for line in lines if line.startswith("ciphers ")).split()[1].split(",")


@pytest.fixture
def knowing(tmp_path: Path) -> Path:
    (tmp_path / "cpuinfo").write_text(X86.format("aes"))
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize("cpuinfo", [X86, ARM])
def test_a_processor_that_knows_aes_is_used_for_it(cpuinfo: str, tmp_path: Path) -> None:
    (tmp_path / "with").write_text(cpuinfo.format("aes"))
    (tmp_path / "without").write_text(cpuinfo.format("vaes_not"))

    assert options(tmp_path / "with") != () == options(tmp_path / "without")
    assert options(tmp_path / "nothing") == ()


def test_a_far_side_that_would_be_reached_unasked_is_reached(knowing: Path) -> None:
    (words,) = options(knowing)

    offered = composed("-o", words)

    assert offered[0].startswith("aes128-gcm")
    assert set(offered) >= set(composed())


def test_every_login_is_by_them(knowing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ciphers, "options", lambda: options(knowing))
    login = Login("backup.example.org", 22, "root", Path("/key"), Path("/known"))

    assert composed(*ssh(login)[1:])[0].startswith("aes128-gcm")


def test_an_ssh_that_does_not_know_all_of_them_is_left_to_itself(
    knowing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ciphers, "IN_ORDER", f"{ciphers.IN_ORDER},of-another-ssh")

    assert options(knowing) == ()
