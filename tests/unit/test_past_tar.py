"""A directory as a tar, unpacked by the real tar."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ebbtide_agent.entry import Entry
from ebbtide_console.past.tar import write_tar

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")


@pytest.mark.parametrize("name", ["user.plain", "user.a=b", "user.100%", "user.%3D", "user.a%=%25=", "user.\udcff"])
def test_an_attribute_comes_back_under_its_own_name(tmp_path: Path, name: str) -> None:
    packed, unpacked = tmp_path / "packed.tar", tmp_path / "unpacked"
    unpacked.mkdir()
    entry = Entry(b"srv", "d", 0o755, os.getuid(), os.getgid(), 0, 0, xattrs={name: b"a=b\n%\xff"})
    with packed.open("wb") as file:
        write_tar([entry], tmp_path, file)

    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-xpf", packed, "-C", unpacked], check=True)

    found = unpacked / "srv"
    assert {each: os.getxattr(found, each) for each in os.listxattr(found)} == entry.xattrs
