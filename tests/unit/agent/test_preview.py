"""A dry run shows what the next push would do, and leaves everything as it was."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.commands.preview import SHOWN_PATHS
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.config import load
from ebbtide_agent.host.course import choice_of
from ebbtide_agent.host.guards import Baseline, keep_baseline
from ebbtide_agent.host.outcome import Counts
from ebbtide_agent.host.push_preview import PushPreview, preview_push
from ebbtide_agent.host_main import main
from tests.unit.agent.test_scan import needs_rsync
from tests.unit.agent.test_survey import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def configure(host: Host, **files: str) -> list[str]:
    """Write the host's files; the words of a dry run."""
    host.paths.etc.mkdir()
    config = f"HOST=us0\nTARGET=receiver://backup.example.org\nKEEP=7\nROOT={host.tree}\n"
    for name, text in {"config": config, **files}.items():
        (host.paths.etc / f"backup_{name}").write_text(text)
    return ["run", "--dry-run", "--etc", str(host.paths.etc), "--state", str(host.paths.state)]


def seen(host: Host) -> PushPreview:
    return preview_push(host.config, host.paths, host.now)


def everything_below(place: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in (place, *place.rglob("*"))}


def test_what_changed_since_the_index_is_shown(host: Host) -> None:
    (host.tree / "gone/deep").mkdir(parents=True)
    (host.tree / "link").symlink_to("etc")
    host.keep(host.take(None), 7)
    (host.tree / "gone/deep").rmdir()
    (host.tree / "gone").rmdir()
    (host.tree / "link").unlink()
    (host.tree / "link").symlink_to("elsewhere")
    (host.tree / "etc/hostname").write_text("a longer name")

    found = seen(host)

    assert found.whole == Counts(1, 4, len("a longer name") + len("elsewhere"))
    assert found.push and set(found.push) == {b"etc/hostname", b"link"}
    assert found.push_bytes == len("a longer name")
    assert found.delete == (b"gone",)
    assert not found.course.in_full


def test_without_an_index_everything_is_compared_and_may_be_pushed(host: Host) -> None:
    found = seen(host)

    assert (found.push, found.delete, found.push_bytes) == (None, None, 3)
    assert found.course.why == "no index of an earlier push is here"


def test_a_terabyte_of_nothing_is_looked_at_at_once(host: Host) -> None:
    with (host.tree / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    assert seen(host).whole.bytes_total == (1 << 40) + len("us0")


@needs_rsync
def test_what_only_rsync_can_select_is_counted_by_rsync(host: Host) -> None:
    (host.tree / "a").write_text("not counted")
    host.config = replace(host.config, exclude=("[a]",))

    found = seen(host)

    assert found.whole == Counts(1, 3, 3)
    assert found.push is None and "only rsync can decide" in found.course.why


@pytest.mark.parametrize("code", [23, 24])
def test_what_rsync_may_not_read_or_has_just_gone_is_no_reason_to_show_nothing(host: Host, code: int) -> None:
    host.config = replace(host.config, exclude=("[a]",), rsync=an_rsync(host, "Number of files: 3 (reg: 1)", code))

    assert seen(host).whole.entries == 3


def test_an_rsync_that_cannot_tell_is_told_in_a_line(host: Host) -> None:
    host.config = replace(host.config, exclude=("[a]",), rsync=an_rsync(host, "rsync error: of syntax", 1))

    with pytest.raises(PermanentError, match=r"^rsync cannot tell what the tree amounts to: rsync error: of syntax$"):
        seen(host)


def an_rsync(host: Host, says: str, code: int, complains: str = "") -> str:
    program = host.tree.parent / "rsync"
    program.write_text(f"#!/bin/sh\necho '{says}'; echo '{complains}' >&2; exit {code}\n")
    program.chmod(0o755)
    return str(program)


def test_nothing_is_changed_and_the_lock_is_not_needed(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    words = configure(host, exclude="/etc/shadow\n")
    (host.paths.etc / "backupscripts").mkdir()
    script = host.paths.etc / "backupscripts/10-touch"
    script.write_text(f"#!/bin/sh\ntouch {host.tree}/touched\n")
    script.chmod(0o755)
    before = everything_below(host.tree.parent)

    code = main(words)

    assert code == 0
    assert everything_below(host.tree.parent) == before
    assert capsys.readouterr().out.splitlines() == [
        "dry run: nothing is sent, nothing is changed, no script is run",
        "the tree: 3 entries, 1 of them files, 3 B",
        "everything is compared, contents too if the target has a tree: no index of an earlier push is here",
    ]


def test_the_first_paths_are_shown_and_all_of_them_as_json(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    words = configure(host)
    host.keep(host.take(None), 7)
    for number in range(SHOWN_PATHS + 5):
        (host.tree / f"new-{number:02}").touch()
    (host.tree / "new-00").rename(host.tree / "a\udcff\n")

    main(words)
    shown = capsys.readouterr().out.splitlines()
    main([*words, "--json"])
    told = json.loads(capsys.readouterr().out)

    assert "  a\\xff\\n" in shown and "  and 7 more" in shown
    assert {os.fsencode(path) for path in told["push"]} >= {b"a\xff\n", b"new-24", b"etc/hostname"}
    assert len(told["push"]) == SHOWN_PATHS + 7


def test_what_a_guard_would_hold_back_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    words = configure(host)
    host.config = load(host.paths)
    survey = host.take(None)
    host.keep(survey, 7)
    keep_baseline(host.paths.baseline, Baseline(survey.choice, 900, 1, 3, {}))

    code = main(words)

    assert code == 4
    assert "suspect: of 900 entries of the last complete night 3 are left" in capsys.readouterr().out


def test_what_rsync_may_not_read_is_named_where_a_guard_would_take_it_for_a_loss(host: Host) -> None:
    rsync = an_rsync(host, "Number of files: 3 (reg: 1)", 23, "rsync: [sender] opendir /srv failed: Stale file handle")
    host.config = replace(host.config, exclude=("[a]",), rsync=rsync)
    host.paths.state.mkdir(exist_ok=True)
    choice = choice_of(host.config, as_root=os.geteuid() == 0)
    keep_baseline(host.paths.baseline, Baseline(choice, 900, 1, 0, {}))

    (lost,) = seen(host).lost

    assert "could be read: rsync: [sender] opendir /srv failed: Stale file handle; nothing was pushed" in lost


def test_a_place_that_is_not_there_is_a_night_that_fails(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(configure(host, include="/ect\n"))

    assert code == 1
    assert "/ect, which is to be backed up, is not there" in capsys.readouterr().out
