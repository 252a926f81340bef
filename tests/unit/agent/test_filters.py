"""What travels, asked of rsync itself."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ebbtide_agent.host.filters import filters

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def a_tree(root: Path) -> Path:
    for name in ("etc/passwd", "etc/ssl/key", "usr/bin/ls", "usr/sbin/cron", "proc/1/stat", "var/log/big"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def travelling(tree: Path, include: Sequence[str], exclude: Sequence[str]) -> set[str]:
    words = ["rsync", "-r", "--list-only", "--out-format=%n", *filters(include, exclude), f"{tree}/"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {line.split(None, 4)[4] for line in listed.splitlines()}


@pytest.mark.parametrize("include", [(), ("/",)])
def test_everything_travels_but_the_contents_of_virtual_file_systems(tmp_path: Path, include: Sequence[str]) -> None:
    names = travelling(a_tree(tmp_path), include, ())

    assert {"etc/ssl/key", "usr/bin/ls", "usr/sbin/cron", "var/log/big", "proc"} <= names
    assert "proc/1" not in names


def test_only_what_is_included_travels_with_the_directories_that_lead_to_it(tmp_path: Path) -> None:
    names = travelling(a_tree(tmp_path), ("/etc", "/usr/sbin"), ())

    assert names == {".", "etc", "etc/passwd", "etc/ssl", "etc/ssl/key", "usr", "usr/sbin", "usr/sbin/cron"}


def test_an_exclude_holds_inside_what_is_included(tmp_path: Path) -> None:
    names = travelling(a_tree(tmp_path), ("/etc",), ("/etc/ssl",))

    assert names == {".", "etc", "etc/passwd"}
