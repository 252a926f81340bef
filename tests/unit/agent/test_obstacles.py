"""Why a host has no index is told by the line or the mount that is the cause."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.host.obstacles import find_obstacles
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.test_course import A_CONFIG

MOUNTS = {b"/": "ext4", b"/proc": "proc", b"/proc/fs": "autofs", b"/boot/efi": "vfat", b"/mnt/nas": "nfs4"}
NAS = "/mnt/nas is on nfs4, whose change times are not to be trusted"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, [NAS]),
        ({"exclude": ("/mnt/nas",)}, []),
        ({"exclude": ("/mnt/nas/*",)}, [NAS]),
        ({"include": ("/etc", "/boot")}, []),
        ({"one_file_system": True}, []),
        ({"root": Path("/mnt/nas"), "one_file_system": True, "whole_system": False}, [NAS]),
        ({"root": Path("/boot"), "whole_system": False}, []),
    ],
)
def test_a_file_system_that_a_scan_meets_and_cannot_trust_is_named(
    tmp_path: Path, changes: dict[str, Any], found: list[str]
) -> None:
    assert list(find_obstacles(replace(A_CONFIG, **changes), HostPaths(tmp_path, tmp_path), MOUNTS)) == found


def test_a_line_that_only_rsync_can_decide_is_named_where_it_stands(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path, tmp_path / "state")
    paths.exclude.write_text("*.o\n[x]y\n")
    paths.include.write_text("/etc\n/srv/a\\[1\\]\n")
    config = replace(A_CONFIG, exclude=("*.o", "[x]y"), include=("/etc", "/srv/a\\[1\\]"))

    assert list(find_obstacles(config, paths, {b"/": "ext4"})) == [
        f"{paths.exclude}:2: only rsync can decide [x]y",
        f"{paths.include}:2: only rsync can decide /srv/a\\[1\\]",
    ]
