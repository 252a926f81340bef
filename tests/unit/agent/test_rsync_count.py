"""What rsync counts of a tree is what a scan would."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.rsync_count import count
from ebbtide_agent.host.tally import Counted
from tests.unit.agent.test_course import A_CONFIG
from tests.unit.agent.test_identity import without_root
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


def test_what_it_may_not_read_is_named() -> None:
    with TemporaryDirectory() as place:
        (tree := Path(place) / "tree").mkdir()
        (tree / "closed").mkdir(mode=0)
        (tree / "file").touch()
        Path(place).chmod(0o755)
        config = replace(A_CONFIG, root=tree, whole_system=False)

        with without_root():
            counted = count(config)

    assert (counted.entries, counted.files) == (3, 1)
    assert counted.unread == (f'rsync: [sender] opendir "{tree}/closed" failed: Permission denied (13)',)


def test_an_rsync_that_does_not_tell_is_no_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="rsync cannot tell what the tree amounts to: exit code 1"):
        count(replace(A_CONFIG, root=tmp_path, rsync="false"))
