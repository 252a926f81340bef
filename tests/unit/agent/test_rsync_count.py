"""What rsync counts of a tree is what a scan would."""

from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.rsync_count import count
from ebbtide_agent.host.tally import Counted
from tests.unit.agent.test_course import A_CONFIG
from tests.unit.agent.test_scan import needs_rsync

pytestmark = needs_rsync


def test_it_counts_what_travels_and_writes_nothing(tmp_path: Path) -> None:
    for name in ("etc/hosts", "etc/left-out", "srv/a/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    (tmp_path / "srv/linked").hardlink_to(tmp_path / "srv/a/b")
    (tmp_path / "srv/link").symlink_to("a")
    config = replace(A_CONFIG, root=tmp_path, whole_system=False, exclude=("[l]eft-out",))

    assert count(config) == Counted(entries=8, files=3, size=22)
    assert count(replace(config, one_file_system=True)) == Counted(entries=8, files=3, size=22)
    assert count(replace(config, include=("/srv/a",))) == Counted(entries=4, files=1, size=7)


def test_an_rsync_that_does_not_tell_is_no_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="rsync cannot tell what the tree amounts to: exit code 1"):
        count(replace(A_CONFIG, root=tmp_path, rsync="false"))
