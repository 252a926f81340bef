"""The law of a night on a tree that is edited while it is pushed: complete, it has every file that was there all along.

Real rsyncs, with edits between any two steps. What a walk misses that is under way meanwhile is not shown here.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as some

from ebbtide_agent.host import push
from ebbtide_agent.report import Report
from tests.local.edits import Edit, Editor, plant
from tests.local.own_nights import Host, differing, entries

EXAMPLES = int(os.environ.get("EBBTIDE_EXAMPLES", "2"))
MISSING = [name for name in ("rsync", "cp") if shutil.which(name) is None]
IS_ROOT = os.geteuid() == 0
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(not IS_ROOT, reason="an edit may take a directory's access from anybody but root"),
]
KINDS = (
    "move", "move_over", "swap", "delete", "append", "write", "make_directory", "break_link", "link", "set_back",
    "change_and_hide_it", "change_in_the_middle",
)  # fmt: skip
MANY = some.lists(
    some.tuples(some.sampled_from(KINDS), some.integers(0, 500), some.integers(0, 500)), min_size=1, max_size=6
)


@dataclass
class Meanwhile:
    """Edits the tree before each rsync of a night, as long as there are edits left."""

    editor: Editor
    left: list[list[Edit]]
    once: Callable[..., Any] = field(default=push._push_once)

    def __call__(self, *arguments: Any) -> Any:
        for edit in self.left.pop(0) if self.left else ():
            self.editor.edit(*edit)
        return self.once(*arguments)


def a_night(host: Host, edits: list[list[Edit]]) -> Report:
    with patch.object(push, "_push_once", Meanwhile(Editor(host.tree), edits)):
        return host.back_up(accept_shrink=True)


def contents(tree: Path) -> dict[int, str]:
    """Of each regular file, by inode."""
    files = (os.fsencode(tree) + b"/" + path for path, found in entries(tree).items() if found.kind == "f")
    return {os.lstat(file).st_ino: content_of(file) for file in files}


def content_of(where: bytes) -> str:
    with open(where, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(before=MANY, meanwhile=some.lists(MANY, min_size=1, max_size=4), days=some.sampled_from([0, 0, 7]))
# A new file, at the 27th of 28 paths, has another name when it is to be pushed.
@example(before=[("write", 0, 5)], meanwhile=[[("move", 26, 8)]], days=0)
@pytest.mark.fault("H4")
def test_what_was_there_all_night_under_whatever_name_is_in_a_complete_nights_tree(
    tmp_path_factory: pytest.TempPathFactory, before: list[Edit], meanwhile: list[list[Edit]], days: int
) -> None:
    place = tmp_path_factory.mktemp("meanwhile")
    host = Host(place, place / "backup")
    plant(host.tree)
    editor = Editor(host.tree)

    try:
        host.back_up()
        for edit in before:
            editor.edit(*edit)
        at_first = contents(host.tree)
        report = a_night(host, [list(edits) for edits in meanwhile])

        throughout = {content for inode, content in contents(host.tree).items() if at_first.get(inode) == content}
        if report.is_complete:
            assert throughout - set(contents(host.newest()).values()) == set(), report.problems
        quiet = host.back_up(accept_shrink=True)
        assert quiet.is_complete, quiet.problems
        assert differing(entries(host.newest()), entries(host.tree)) == {}
    finally:
        shutil.rmtree(place)
