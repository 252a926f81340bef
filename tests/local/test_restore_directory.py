"""Files back from the snapshots of a directory: as they were, and nothing that is there changed unasked."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest

from ebbtide_agent.walk import LONGEST_PATH
from ebbtide_console.sandbox import awkward
from tests.local.bringing_back import ask, below, given_back, rot
from tests.local.edits import dig
from tests.local.own_nights import Host, agent, differing, entries
from tests.local.receiver_machine import MAY_MOUNT

IS_ROOT = os.geteuid() == 0
ETC = hashlib.sha256(b"etc").hexdigest()[:8]
pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "us0", tmp_path / "backup")
    (host.tree / "etc/nginx").mkdir(parents=True)
    (host.tree / "etc/nginx/nginx.conf").write_text("as it was")
    (host.tree / "etc").chmod(0o711)
    (host.tree / "lib").symlink_to("usr/lib")
    (host.tree / "cache").mkdir()
    return host


def in_tree(host: Host, path: str) -> str:
    return str(host.tree / path)


def test_every_kind_of_entry_comes_back_below_its_whole_path(host: Host, tmp_path: Path) -> None:
    (awkward.grow if IS_ROOT else awkward.grow_plain)(host.tree / "srv/www")
    (host.tree / "srv").chmod(0o701)
    os.utime(host.tree / "srv", ns=(0, 1234567890123456789))
    host.back_up()
    point = host.snapshots()[0]
    before = entries(host.tree)

    ended = ask(host, "restore", in_tree(host, "srv/www"), in_tree(host, "etc/nginx/nginx.conf"), cwd=tmp_path)

    restored = tmp_path / f"restored-us0-{point}"
    assert ended.returncode == 0, ended.stderr
    assert differing(below(restored, "srv"), given_back(host.tree, "srv")) == {}
    assert (restored / "etc/nginx/nginx.conf").read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("restored")] == [restored.name]
    assert restored.stat().st_mode & 0o777 == 0o700
    assert differing(entries(host.tree), before) == {}


def test_a_whole_tree_comes_back_with_its_roots_mode_where_nobody_else_gets_to(host: Host, tmp_path: Path) -> None:
    host.tree.chmod(0o755)
    host.back_up()

    shown = ask(host, "restore", str(host.tree), "--dry-run", cwd=tmp_path)
    ended = ask(host, "restore", str(host.tree), cwd=tmp_path)

    restored = tmp_path / f"restored-us0-{host.snapshots()[0]}"
    assert (shown.returncode, ended.returncode) == (0, 0), shown.stderr + ended.stderr
    assert stat.S_IMODE(restored.stat().st_mode) == 0o700
    assert differing(entries(restored / "tree"), entries(host.tree)) == {}
    assert f"are in {restored}/tree" in ended.stderr


def test_a_whole_tree_that_an_earlier_agent_has_begun_is_closed_before_more_comes_back(
    host: Host, tmp_path: Path
) -> None:
    host.back_up()
    begun = tmp_path / f"restored-us0-{host.snapshots()[0]}.unfinished-{hashlib.sha256(b'.').hexdigest()[:8]}"
    begun.mkdir(mode=0o755)
    seen = tmp_path / "seen"
    looking = tmp_path / "rsync"
    looking.write_text(f'#!/bin/sh\nstat -c %a {begun} >> {seen}\nexec rsync "$@"\n')
    looking.chmod(0o755)
    host.configure(RSYNC=str(looking))

    ended = ask(host, "restore", str(host.tree), cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert seen.read_text().splitlines()[-1] == "700"
    assert stat.S_IMODE((tmp_path / f"restored-us0-{host.snapshots()[0]}").stat().st_mode) == 0o700


def test_programs_are_told_what_would_come_back_and_what_did(host: Host, tmp_path: Path) -> None:
    host.back_up()
    point, asked = host.snapshots()[0], ("restore", in_tree(host, "etc"), "--json")
    (host.tree / "etc/nginx/nginx.conf").write_text("changed since")

    shown = ask(host, *asked, "--in-place", "--dry-run", cwd=tmp_path)
    ended = ask(host, *asked, "--in-place", "--yes", cwd=tmp_path)
    new = ask(host, *asked, cwd=tmp_path)

    before, after, elsewhere = (json.loads(each.stdout) for each in (shown, ended, new))
    assert (before["done"], before["status"], after["done"], after["status"]) == (False, None, True, "complete")
    assert (after["point"], after["into"], after["added"]) == (point, str(host.tree), 0)
    assert {"what": "replace", "path": in_tree(host, "etc/nginx/nginx.conf")} in before["changes"] == after["changes"]
    assert (elsewhere["into"], elsewhere["changes"]) == (str(tmp_path / f"restored-us0-{point}"), None)
    assert (elsewhere["files"], elsewhere["bytes_total"], elsewhere["problems"]) == (1, len("as it was"), [])
    assert "complete: 1 files" in new.stderr


@pytest.mark.parametrize("where", ["", "etc"])
def test_names_are_bytes(host: Host, tmp_path: Path, where: str) -> None:
    odd = [b"bad\xff\n*", b"#no comment", b";", b"-n", b"us0:x", b" ", b"[a]", b"\\#012"]
    paths = [host.tree / where / os.fsdecode(name) for name in odd]
    for path in paths:
        path.write_text("odd")
    host.back_up()

    for number, path in enumerate(paths):
        ended = ask(host, "restore", str(path), "--into", f"back-{number}", cwd=tmp_path)

        assert ended.returncode == 0, ended.stderr
        assert (tmp_path / f"back-{number}" / path.relative_to(host.tree)).read_text() == "odd"


def test_the_whole_tree_of_an_older_point_comes_back(host: Host, tmp_path: Path) -> None:
    host.back_up()
    was = entries(host.tree)
    first = host.snapshots()[0]
    (host.tree / "etc/nginx/nginx.conf").write_text("changed since")
    host.back_up()

    ended = ask(host, "restore", str(host.tree), "--at", first[:10], "--into", "back", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert differing(entries(tmp_path / "back"), was) == {}


def test_in_place_nothing_changes_unless_it_is_agreed(host: Host, tmp_path: Path) -> None:
    host.back_up()
    (host.tree / "etc/nginx/nginx.conf").write_text("broken")
    (host.tree / "etc/nginx/mine").write_text("new since then")
    changed = entries(host.tree)

    refused = ask(host, "restore", in_tree(host, "etc/nginx"), "--in-place", cwd=tmp_path)
    tried = ask(host, "restore", in_tree(host, "etc/nginx"), "--in-place", "--dry-run", cwd=tmp_path)
    after = entries(host.tree)
    agreed = ask(host, "restore", in_tree(host, "etc/nginx"), "--in-place", "--yes", cwd=tmp_path)

    assert (refused.returncode, tried.returncode, agreed.returncode) == (77, 0, 0), agreed.stderr
    assert f"replace    {in_tree(host, 'etc/nginx/nginx.conf')}" in refused.stderr
    assert "say --yes" in refused.stderr
    assert refused.stderr.splitlines()[:-1] == tried.stderr.splitlines()
    assert differing(after, changed) == {}
    assert (host.tree / "etc/nginx/nginx.conf").read_text() == "as it was"
    assert (host.tree / "etc/nginx/mine").read_text() == "new since then"


@pytest.mark.parametrize("where", [["--in-place"], ["--into", "back"]])
def test_what_only_its_content_tells_from_what_it_was_is_shown_and_brought_back(
    host: Host, tmp_path: Path, where: list[str]
) -> None:
    host.back_up()
    asked = ("restore", in_tree(host, "etc"), *where, "--yes")
    base = host.tree if where == ["--in-place"] else tmp_path / "back"
    ask(host, *asked, cwd=tmp_path)
    rot(base / "etc/nginx/nginx.conf")

    shown = ask(host, *asked, "--dry-run", cwd=tmp_path)
    ended = ask(host, *asked, cwd=tmp_path)

    assert f"replace    {base}/etc/nginx/nginx.conf" in shown.stderr
    assert ended.returncode == 0, ended.stderr
    assert (base / "etc/nginx/nginx.conf").read_text() == "as it was"


@pytest.mark.parametrize(
    ("answer", "code", "content"), [("y", 0, "as it was"), ("n", 77, "broken"), ("", 77, "broken")]
)
def test_on_a_terminal_it_asks(host: Host, tmp_path: Path, answer: str, code: int, content: str) -> None:
    host.back_up()
    (host.tree / "etc/nginx/nginx.conf").write_text("broken")
    ours, theirs = os.openpty()
    words = ["restore", in_tree(host, "etc/nginx"), "--in-place", "--etc", str(host.paths.etc)]
    argv = [*agent(host)[:3], *words, "--state", str(host.paths.state)]

    with subprocess.Popen(argv, cwd=tmp_path, stdin=theirs, stderr=theirs, start_new_session=True) as restoring:
        os.close(theirs)
        said = b""
        while b"change them? [y/N]" not in said:
            said += os.read(ours, 4096)
        os.write(ours, f"{answer}\n".encode())
        ended = restoring.wait(60)
    os.close(ours)

    assert ended == code
    assert in_tree(host, "etc/nginx/nginx.conf").encode() in said
    assert (host.tree / "etc/nginx/nginx.conf").read_text() == content


@pytest.mark.skipif(not IS_ROOT, reason="nobody but root could make it real")
def test_what_somebody_named_like_roots_own_attributes_stays_a_name(host: Host, tmp_path: Path) -> None:
    host.back_up()
    planted = host.newest() / "etc/nginx/nginx.conf"
    os.setxattr(planted, "user.rsync.security.capability", awkward.capability(awkward.CAP_NET_RAW))

    ended = ask(host, "restore", in_tree(host, "etc/nginx"), "--into", "back", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert "security.capability" not in os.listxattr(tmp_path / "back/etc/nginx/nginx.conf")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets the flags of chattr")
def test_a_file_that_chattr_keeps_as_it_is_is_told_with_what_takes_the_flag_off(host: Host, tmp_path: Path) -> None:
    host.back_up()
    file = host.tree / "etc/nginx/nginx.conf"
    file.write_text("another")
    if subprocess.run(["chattr", "+i", str(file)], capture_output=True).returncode != 0:
        pytest.skip("the file system of the tests knows no flags")
    try:
        left = ask(host, "restore", in_tree(host, "etc/nginx"), "--in-place", "--yes", cwd=tmp_path)
    finally:
        subprocess.run(["chattr", "-i", str(file)], check=True)

    assert (left.returncode, file.read_text()) == (3, "another")
    assert "Operation not permitted" in left.stderr and "lsattr shows it" in left.stderr.splitlines()[-2]


def test_a_directory_with_something_in_it_gives_way_to_a_file_only_if_deleting_was_agreed_to(
    host: Host, tmp_path: Path
) -> None:
    host.back_up()
    (host.tree / "etc/nginx/nginx.conf").unlink()
    (host.tree / "etc/nginx/nginx.conf").mkdir()
    (host.tree / "etc/nginx/nginx.conf/mine").write_text("precious")
    words = ["restore", in_tree(host, "etc/nginx"), "--in-place"]

    told = ask(host, *words, "--dry-run", cwd=tmp_path)
    left = ask(host, *words, "--yes", cwd=tmp_path)
    kept = (host.tree / "etc/nginx/nginx.conf/mine").exists()
    shown = ask(host, *words, "--delete", "--dry-run", cwd=tmp_path)
    gone = ask(host, *words, "--delete", "--yes", cwd=tmp_path)

    assert (left.returncode, kept) == (3, True)
    assert f"in the way {in_tree(host, 'etc/nginx/nginx.conf')}\n" in told.stderr
    assert "could not make way" in left.stderr and "--delete takes away" in left.stderr.splitlines()[-2]
    assert f"delete     {in_tree(host, 'etc/nginx/nginx.conf/mine')}" in shown.stderr
    assert gone.returncode == 0, gone.stderr
    assert (host.tree / "etc/nginx/nginx.conf").read_text() == "as it was"


@pytest.mark.skipif(not (IS_ROOT and MAY_MOUNT), reason="mounting needs root and a mount namespace")
def test_what_is_mounted_below_is_not_deleted(host: Host, tmp_path: Path) -> None:
    (host.tree / "etc/mnt").mkdir()
    host.back_up()
    (host.tree / "etc/extra").write_text("new since then")
    mounted = f"{host.tree}/etc/mnt"
    script = f"mount -t tmpfs t '{mounted}' && touch '{mounted}/file' && \"$@\"; echo $?; ls '{mounted}'"
    within = ["unshare", "--mount", "sh", "-c", script, "sh"]

    ended = ask(host, "restore", in_tree(host, "etc"), "--in-place", "--delete", "--yes", cwd=tmp_path, within=within)

    assert ended.stdout.split() == ["0", "file"], ended.stderr
    assert not (host.tree / "etc/extra").exists()


def test_what_is_gone_comes_back_in_place_without_a_question(host: Host, tmp_path: Path) -> None:
    host.back_up()
    before = entries(host.tree)
    shutil.rmtree(host.tree / "etc")

    ended = ask(host, "restore", in_tree(host, "etc/nginx/nginx.conf"), "--in-place", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    # The root's own time is not asked for.
    assert differing({**entries(host.tree), b".": before[b"."]}, before) == {}


def test_a_directory_where_a_file_was_is_shown_as_replaced(host: Host, tmp_path: Path) -> None:
    host.back_up()
    (host.tree / "etc/nginx/nginx.conf").unlink()
    (host.tree / "etc/nginx/nginx.conf").symlink_to("/etc/passwd")

    ended = ask(host, "restore", in_tree(host, "etc/nginx/nginx.conf"), "--in-place", cwd=tmp_path)

    assert ended.returncode == 77
    assert "replace" in ended.stderr
    assert (host.tree / "etc/nginx/nginx.conf").is_symlink()


def test_what_was_not_there_is_deleted_only_if_asked_for_and_never_what_is_not_backed_up(
    host: Host, tmp_path: Path
) -> None:
    host.paths.exclude.write_text("/etc/nginx/cache\n*.tmp\n")
    host.back_up()
    (host.tree / "etc/nginx/mine").write_text("new since then")
    (host.tree / "etc/nginx/cache").mkdir()
    (host.tree / "etc/nginx/cache/kept").write_text("not backed up")
    (host.tree / "etc/nginx/kept.tmp").write_text("not backed up")

    shown = ask(host, "restore", in_tree(host, "etc/nginx"), "--in-place", "--delete", cwd=tmp_path)
    agreed = ask(host, "restore", in_tree(host, "etc/nginx"), "--in-place", "--delete", "--yes", cwd=tmp_path)

    assert f"delete     {in_tree(host, 'etc/nginx/mine')}" in shown.stderr
    assert agreed.returncode == 0, agreed.stderr
    assert sorted(path.name for path in (host.tree / "etc/nginx").iterdir()) == ["cache", "kept.tmp", "nginx.conf"]
    assert (host.tree / "etc/nginx/cache/kept").exists()


@pytest.mark.parametrize("where", ["in-place", "into"])
def test_nothing_is_written_through_a_link(host: Host, tmp_path: Path, where: str) -> None:
    host.back_up()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    base = host.tree if where == "in-place" else tmp_path / "back"
    base.mkdir(exist_ok=True)
    shutil.rmtree(base / "etc", ignore_errors=True)
    (base / "etc").symlink_to(elsewhere)
    words = ["--in-place"] if where == "in-place" else ["--into", str(base)]

    ended = ask(host, "restore", in_tree(host, "etc/nginx"), *words, "--yes", cwd=tmp_path)

    assert ended.returncode == 77
    assert f"{base}/etc is a symbolic link, and nothing is written through it" in ended.stderr
    assert list(elsewhere.iterdir()) == []


def test_a_link_below_what_is_restored_gives_way_and_is_not_followed(host: Host, tmp_path: Path) -> None:
    host.back_up()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(host.tree / "etc/nginx")
    (host.tree / "etc/nginx").symlink_to(elsewhere)

    ended = ask(host, "restore", in_tree(host, "etc"), "--in-place", "--yes", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert list(elsewhere.iterdir()) == []
    assert (host.tree / "etc/nginx/nginx.conf").read_text() == "as it was"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "etc/nginx/ngnix.conf",
            "{tree}/etc/nginx/ngnix.conf was not there at {point}; {tree}/etc/nginx held nginx.conf",
        ),
        ("opt/shop/x", "{tree}/opt/shop/x was not there at {point}; {tree} held cache, etc, lib"),
        ("lib/modules", "{tree}/lib was a symbolic link at {point}: ask for what lies where it leads"),
        ("etc/nginx/nginx.conf/x", "{tree}/etc/nginx/nginx.conf was no directory at {point}, and had nothing below it"),
    ],
)
def test_a_path_that_was_not_there_is_told_with_what_was_near(host: Host, tmp_path: Path, path: str, said: str) -> None:
    host.back_up()

    ended = ask(host, "restore", in_tree(host, path), cwd=tmp_path)

    assert ended.returncode == 1
    assert f"ebbtide: {said}".format(point=host.snapshots()[0], tree=host.tree) in ended.stderr
    assert [name for name in os.listdir(tmp_path) if name.startswith("restored")] == []  # noqa: PTH208


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["relative"], "is not an absolute path"),
        (["/nowhere"], "is not below ROOT"),
        (["{tree}/etc", "--delete"], "--delete goes with"),
        (["{tree}/etc", "--into", "x", "--in-place"], "not allowed with"),
        (["{tree}/etc", "--from=-x"], "is not an address"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_refused(
    host: Host, tmp_path: Path, words: list[str], said: str
) -> None:
    host.back_up()

    ended = ask(host, "restore", *(word.format(tree=host.tree) for word in words), cwd=tmp_path)

    assert ended.returncode == 2
    assert said in ended.stderr


def test_nothing_is_restored_into_the_snapshots(host: Host, tmp_path: Path) -> None:
    host.back_up()
    before = entries(host.target)

    into = ask(host, "restore", in_tree(host, "etc"), "--into", str(host.target / "x"), cwd=tmp_path)
    here = ask(host, "restore", in_tree(host, "etc"), cwd=host.newest())

    assert (into.returncode, here.returncode) == (77, 77)
    assert all("is where the backups are" in ended.stderr for ended in (into, here))
    assert differing(entries(host.target), before) == {}


def test_cut_off_it_goes_on_in_what_it_has_begun(host: Host, tmp_path: Path) -> None:
    (host.tree / "etc/large").write_bytes(os.urandom(1 << 20))
    host.back_up()
    broken = tmp_path / "rsync"
    harm = f"rm '{tmp_path}'/restored-*/etc/large; exit 20"
    broken.write_text(f'#!/bin/sh\nrsync "$@" || exit\ncase "$*" in *progress2*) {harm};; esac\n')
    broken.chmod(0o755)
    host.configure(RSYNC=str(broken))

    cut_off = ask(host, "restore", in_tree(host, "etc"), cwd=tmp_path)
    begun = [path.name for path in tmp_path.iterdir() if path.name.startswith("restored")]
    host.configure()
    again = ask(host, "restore", in_tree(host, "etc"), cwd=tmp_path)
    once_more = ask(host, "restore", in_tree(host, "etc"), cwd=tmp_path)

    name = f"restored-us0-{host.snapshots()[0]}"
    assert cut_off.returncode == 3
    assert len(begun) == 1 and begun[0].startswith(f"{name}.unfinished-")
    assert (again.returncode, once_more.returncode) == (0, 0), again.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("restored")) == [name, f"{name}-2"]
    assert differing(below(tmp_path / name, "etc"), below(host.tree, "etc")) == {}


def test_what_was_cut_off_is_not_gone_on_with_for_other_paths(host: Host, tmp_path: Path) -> None:
    (host.tree / "srv").mkdir()
    host.back_up()
    begun = tmp_path / f"restored-us0-{host.snapshots()[0]}.unfinished-{ETC}"
    begun.mkdir(mode=0o700)
    (begun / "half").write_text("of /etc")

    ended = ask(host, "restore", in_tree(host, "srv"), cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in begun.iterdir()] == ["half"]
    assert not (tmp_path / f"restored-us0-{host.snapshots()[0]}" / "half").exists()


@pytest.mark.parametrize("planted", ["open to all", "a link"])
def test_a_directory_that_somebody_has_put_in_its_place_is_not_used(host: Host, tmp_path: Path, planted: str) -> None:
    host.back_up()
    theirs, place = tmp_path / "theirs", tmp_path / f"restored-us0-{host.snapshots()[0]}.unfinished-{ETC}"
    theirs.mkdir()
    if planted == "a link":
        place.symlink_to(theirs)
    else:
        place.mkdir()
        place.chmod(0o777)

    ended = ask(host, "restore", in_tree(host, "etc"), cwd=tmp_path)

    assert ended.returncode == 77
    assert "is not the directory of a restore that was cut off" in ended.stderr
    assert list(place.iterdir()) == []


def test_a_name_too_deep_to_be_linked_there_is_told_and_holds_up_no_other(short: Path, tmp_path: Path) -> None:
    host = Host(tmp_path, short)
    deep = dig(host.tree, LONGEST_PATH - 2)
    with chdir(host.tree):
        (deep / "n").write_text("deep down")
        os.link(deep / "n", "not as deep")
        (deep / "m").write_text("as deep")
    host.back_up()
    into = tmp_path / ("i" * 100)
    into.mkdir()

    ended = ask(host, "restore", str(host.tree), cwd=into)

    (restored,) = into.iterdir()
    lacking = entries(host.tree).keys() - entries(restored / "tree").keys()
    assert lacking <= {b"not as deep"}, lacking
    assert ended.returncode != 0 and "File name too long" in ended.stderr


def test_the_points_are_listed(host: Host, tmp_path: Path) -> None:
    host.configure()
    nothing = ask(host, "list", cwd=tmp_path)
    host.back_up()
    host.back_up()

    ended = ask(host, "list", cwd=tmp_path)

    assert nothing.returncode == 1
    assert nothing.stdout == f"{host.target} has no snapshot yet: the first complete night makes one\n"
    assert ended.returncode == 0
    assert [line.split()[0] for line in ended.stdout.splitlines()] == list(host.snapshots())
