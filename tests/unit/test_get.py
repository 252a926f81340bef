"""`ebbtide get`: what it is asked for, and what is compared of what came, by root and by anybody."""

import errno
import os
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

from chalicelib.errors import PermanentError, Refused
from ebbtide_agent.entry import Entry, read_real
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_console import session
from ebbtide_console.cli.get import put
from ebbtide_console.cli.main import main
from ebbtide_console.past.fetch import make_readable, mode_of, prove


@pytest.fixture
def came(tmp_path: Path) -> list[Entry]:
    """What is below `etc` in a directory, as a manifest has it."""
    (tmp_path / "etc/inner").mkdir(parents=True)
    for name in ("etc/shadow", "etc/inner/plain", "etcetera"):
        (tmp_path / name).write_text(name)
    (tmp_path / "etc/link").symlink_to("shadow")
    entries = read_real(tmp_path, lambda where, _: sha256_of(where))
    return [entry for entry in entries if entry.path.split(b"/")[0] == b"etc"]


def as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_what_is_as_it_was_is_proven(came: list[Entry], tmp_path: Path) -> None:
    prove(came, tmp_path, b"etc")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "0" * 64}, "etc/shadow: content: expected sha256 0000"),
        ({"mtime_ns": 5}, "etc/shadow: mtime: expected 5 ns"),
        ({"kind": "p"}, "etc/shadow: kind: expected p, found f"),
        ({"path": b"etc/gone"}, "etc/gone: missing; etc/shadow: extra, not in the manifest"),
    ],
)
def test_nobody_takes_what_is_otherwise(
    change: dict[str, object], said: str, came: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [replace(each, **change) if each.path == b"etc/shadow" else each for each in came]  # type: ignore[arg-type]
    expected = sorted(changed, key=attrgetter("path"))

    for _ in ("as root, perhaps", "as somebody"):
        with pytest.raises(PermanentError, match=f"what came is not what was backed up: {said}"):
            prove(expected, tmp_path, b"etc")
        as_somebody(monkeypatch)


def test_what_only_root_can_give_back_is_compared_by_root_alone(
    came: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [replace(each, uid=33, gid=33, mode=0o4711) for each in came]
    device = replace(came[0], path=b"etc/null", kind="c", rdev=(1, 3))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(PermanentError, match="etc: mode: expected 4711"):
        prove(theirs, tmp_path, b"etc")
    with pytest.raises(PermanentError, match="etc/null: missing"):
        prove(sorted([*came, device], key=attrgetter("path")), tmp_path, b"etc")
    as_somebody(monkeypatch)
    prove(sorted([*theirs, device], key=attrgetter("path")), tmp_path, b"etc")
    assert mode_of(theirs[0]) == 0o711


def test_who_is_not_root_can_read_all_that_came(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("")
    (tmp_path / "a/link").symlink_to("/nowhere")
    (tmp_path / "a/b/file").chmod(0)
    (tmp_path / "a/b").chmod(0o100)

    make_readable(tmp_path)

    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a/b", "a/b/file")] == [0o700, 0o600]


@pytest.mark.parametrize(
    ("there", "words", "said"),
    [
        ("invoice.txt", [], "invoice.txt is there already"),
        ("invoice.txt.tar", [], "invoice.txt.tar is there already"),
        ("mine", ["--to", "mine"], "mine is there already"),
        ("mine", ["--to", "nowhere/it"], "there is no directory nowhere"),
        ("mine", ["--to", "mine/it"], "there is no directory mine"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_a_machine_is_started(
    there: str,
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in (there, "key"):
        (tmp_path / name).write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "invoke", lambda *_: pytest.fail("something was opened"))

    code = main(["get", "us0:/srv/invoice.txt", "--key", "key", *words])

    assert code != 0
    assert said in capsys.readouterr().err


def test_without_hard_links_it_gets_its_name_all_the_same_and_nothing_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kernel of a test machine need know a file system without them."""
    (tmp_path / "made").write_text("restored")
    (tmp_path / "taken").write_text("mine")

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(Refused, match="taken is there already"):
        put(tmp_path / "made", tmp_path / "taken")
    put(tmp_path / "made", tmp_path / "free")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"taken": "mine", "free": "restored"}


def test_a_name_that_was_taken_and_is_free_again_is_not_called_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_just_then(*_: object, **__: object) -> None:
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", taken_just_then)

    with pytest.raises(Refused, match="target is there already"):
        put(tmp_path / "made", tmp_path / "target")


@pytest.mark.parametrize("what", ["us0", "us0:", "us0:etc", ":/etc", "us0:/", "us0:/etc/../root"])
def test_what_names_no_path_of_a_host_is_refused_before_anything_is_opened(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "invoke", lambda *_: pytest.fail("something was opened"))

    with pytest.raises(SystemExit):
        main(["get", what])

    assert "expected a host and an absolute path of it, like us0:/etc/fstab" in capsys.readouterr().err
