"""Where the processor knows AES, ssh is told to use it, in words that it takes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ebbtide_agent.host.ciphers import options

X86 = "processor\t: 0\nflags\t\t: fpu vme pclmulqdq {} avx\nbugs\t\t: spectre_v1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {} pmull sha1\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize("cpuinfo", [X86, ARM])
def test_a_processor_that_knows_aes_is_used_for_it(cpuinfo: str, tmp_path: Path) -> None:
    (tmp_path / "with").write_text(cpuinfo.format("aes"))
    (tmp_path / "without").write_text(cpuinfo.format("vaes_not"))

    assert options(tmp_path / "with") != () == options(tmp_path / "without")
    assert options(tmp_path / "nothing") == ()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_ssh_takes_the_words(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86.format("aes"))
    (words,) = options(tmp_path / "cpuinfo")

    composed = subprocess.run(["ssh", "-F", "none", "-G", "-o", words, "host"], check=True, capture_output=True).stdout

    assert f"ciphers {words.partition('=')[2]}" in composed.decode().splitlines()
