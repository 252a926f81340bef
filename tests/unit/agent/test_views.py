"""What a session sees becomes modules and mounts: the tree to be written, each point to be read, nothing more."""

from pathlib import Path

import pytest

from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.confine import Files, command, rsyncd_conf
from ebbtide_agent.receiver.view import Readable, View

TREE = Path("/srv/hosts/us0a/tree")
POINTS = (Readable("2026-11-22.1", Path("/srv/old")), Readable("2026-11-23.1", Path("/srv/new"), munged=True))


def modules(text: str) -> "dict[str, dict[str, str]]":
    found: dict[str, dict[str, str]] = {"": {}}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            found[name] = {}
        else:
            key, _, value = line.partition(" = ")
            found[name][key] = value
    return found


def test_a_night_has_one_module_and_it_cannot_be_read() -> None:
    found = modules(rsyncd_conf(confine.SEPARATE, View(1000001, tree=TREE)))

    assert [*found] == ["", "tree"]
    assert (found["tree"]["path"], found["tree"]["write only"]) == ("/tree", "yes")


def test_an_opened_point_has_one_module_and_it_cannot_be_written() -> None:
    found = modules(rsyncd_conf(confine.OWN, View(1000001, points=POINTS[:1])))

    assert [*found] == ["", "2026-11-22.1"]
    assert (found["2026-11-22.1"]["path"], found["2026-11-22.1"]["read only"]) == ("/points/2026-11-22.1", "yes")
    assert "write only" not in found["2026-11-22.1"]


def test_a_tree_and_several_points_lie_side_by_side() -> None:
    found = modules(rsyncd_conf(confine.MUNGED, View(1000001, TREE, POINTS)))

    assert [*found] == ["", "tree", "2026-11-22.1", "2026-11-23.1"]
    assert [found[name]["path"] for name in [*found][1:]] == ["/srv/hosts/us0a/tree", "/srv/old", "/srv/new"]
    assert [found[point.name]["munge symlinks"] for point in POINTS] == ["no", "yes"]
    assert {found[name]["fake super"] for name in [*found][1:]} == {"yes"}


@pytest.mark.parametrize("kind", [confine.SEPARATE, confine.OWN])
def test_only_the_tree_is_there_to_be_written(kind: str) -> None:
    words = command(kind, View(1000001, TREE, POINTS), Files(Path("conf"), (8, 9)))

    mounts = [words[at : at + 3] for at, word in enumerate(words) if word in ("--bind", "--ro-bind")]
    assert [mount for mount in mounts if mount[0] == "--bind"] == [("--bind", str(TREE), "/tree")]
    assert ("--ro-bind", "/srv/old", "/points/2026-11-22.1") in mounts
    assert ("--ro-bind", "/srv/new", "/points/2026-11-23.1") in mounts
