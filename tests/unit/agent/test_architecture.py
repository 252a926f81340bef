"""An image of another kind of machine: said before anything is begun, and known from the night it was backed up."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.host import night
from ebbtide_agent.host.link import World
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.restore.architecture import why_not_here
from ebbtide_agent.restore.boot_image import booted

X86_64, AARCH64, I386, S390X = 62, 183, 3, 22


def an_elf(path: Path, machine: int, big_endian: bool = False) -> Path:
    order = "big" if big_endian else "little"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x7fELF\x02" + bytes([2 if big_endian else 1]) + bytes(12) + machine.to_bytes(2, order) + bytes(44)
    )
    return path


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        (X86_64, X86_64, None),
        (I386, X86_64, None),
        (X86_64, AARCH64, "the image is of x86_64, and this machine runs aarch64"),
        (X86_64, I386, "the image is of x86_64, and this machine runs i386"),
        (9999, AARCH64, "the image is of ELF machine 9999, and this machine runs aarch64"),
    ],
)
def test_a_machine_runs_its_own_programs_and_their_elders(
    tmp_path: Path, theirs: int, ours: int, why: str | None
) -> None:
    assert why_not_here(an_elf(tmp_path / "theirs", theirs), an_elf(tmp_path / "ours", ours)) == why


def test_the_header_says_in_which_order_its_bytes_are(tmp_path: Path) -> None:
    image = an_elf(tmp_path / "theirs", S390X, big_endian=True)

    assert "of s390x" in str(why_not_here(image, an_elf(tmp_path / "ours", X86_64)))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", None])
def test_where_nobody_can_tell_it_is_tried(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "theirs").write_bytes(content)

    assert why_not_here(tmp_path / "theirs", an_elf(tmp_path / "ours", X86_64)) is None
    assert why_not_here(Path(sys.executable)) is None


@pytest.mark.fault("H17")
def test_an_image_of_another_kind_of_machine_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    other = AARCH64 if platform.machine() == "x86_64" else X86_64
    an_elf(tmp_path / "usr/lib/systemd/systemd", other)

    with booted(tmp_path, "restored") as boot:
        assert (boot.is_up, boot.seconds) == (False, 0.0)
        assert boot.why and boot.why.startswith(
            f"the image is of {'aarch64' if other == AARCH64 else 'x86_64'}, and this"
        )


@pytest.mark.fault("H17")
@pytest.mark.parametrize(
    ("release", "os_name"),
    [('NAME=Plan\nPRETTY_NAME="Plan 9 (Fourth Edition)"\n', "Plan 9 (Fourth Edition)"), (None, "unknown")],
)
def test_what_it_takes_to_run_the_image_is_in_the_report_of_the_night(
    tmp_path: Path, release: str | None, os_name: str
) -> None:
    paths = HostPaths(tmp_path / "etc", tmp_path / "state")
    for directory in (paths.etc, tmp_path / "tree/etc", tmp_path / "backup"):
        directory.mkdir(parents=True)
    (tmp_path / "tree/file").touch()
    if release is not None:
        (tmp_path / "tree/etc/os-release").write_text(release)
    to = f"HOST=us0\nTARGET={tmp_path}/backup\nKEEP=1\nROOT={tmp_path}/tree\nWHOLE_SYSTEM=no\n"
    paths.config.write_text(to)

    report = night.run(night.Night(paths, World(lambda: datetime.now(UTC)), os.environ))

    assert (report.os, report.arch) == (os_name, platform.machine())
