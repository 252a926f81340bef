"""Nights to a machine that gives us rsync and nothing else: real sshd, no shell behind it, and no root."""

import getpass
import json
import shlex
import shutil
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent import keys
from ebbtide_agent.errors import PermanentError, Refused, TransientError
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.way import way_to
from tests.local.edits import plant
from tests.local.own_nights import Host, as_agent, differing, entries
from tests.local.rsync_only import FarSide, a_far_side

NEEDED = ("rsync", "ssh", "ssh-keygen", "setpriv")
MISSING = [name for name in NEEDED if shutil.which(name) is None] + [
    name for name in ("/usr/sbin/sshd",) if not Path(name).exists()
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


class Pushing(Host):
    """us0, which pushes into a directory of the far side."""

    def reach(self, far: FarSide, path: str = "/~/us0") -> None:
        shutil.rmtree(far.home / "us0", ignore_errors=True)
        self.far, self.path = far, path

    def configure(self, **settings: str) -> None:
        to = {"TARGET": self.far.target(self.path), "KEY": str(self.far.key), "WAIT_MINUTES": "1"}
        super().configure(**{**to, "KNOWN_HOSTS": str(self.far.known_hosts), **settings})

    @property
    def there(self) -> Path:
        return self.far.home / "us0"

    def report_there(self) -> dict[str, object]:
        return dict(json.loads((self.there / "report.json").read_bytes()))


@pytest.fixture
def host(far: FarSide, tmp_path: Path) -> Pushing:
    host = Pushing(tmp_path, tmp_path / "unused")
    host.reach(far)
    (host.tree / "file").write_text("file")
    return host


def test_the_far_side_of_these_tests_has_no_shell(far: FarSide) -> None:
    ended = far.ssh("sh", "-c", "id")

    assert ended.returncode == 1 and "rsync and nothing else" in ended.stderr


def test_the_tree_arrives_whole_and_the_next_night_goes_by_the_index(host: Pushing) -> None:
    plant(host.tree)
    first = host.back_up()
    (host.tree / "new").write_text("new")
    shutil.rmtree(host.tree / "g")
    second = host.back_up()

    back = fetched(host)
    assert (first.status, second.status) == ("complete", "complete")
    assert differing(entries(back), entries(host.tree)) == {}
    assert "a full push: no index" in " ".join(host.said) and "to push" in host.said[-2]
    assert second.receiver and second.receiver.tree == "fake-super"
    assert host.report_there() == json.loads(host.paths.last_report.read_bytes())


def fetched(host: Pushing) -> Path:
    """The tree as an operator gets it back."""
    back, ssh = host.place / "back", ["ssh", "-F", "none", "-p", str(host.far.port), "-i", str(host.far.key)]
    # By whole seconds rsync would leave a directory the time of its arrival that is not a second older.
    words = ["-aHAXS", "--numeric-ids", "--modify-window=-1", "-M--fake-super"]
    words += ["-e", shlex.join([*ssh, *host.far.options])]
    subprocess.run(["rsync", *words, f"{getpass.getuser()}@localhost:us0/tree/", f"{back}/"], check=True)
    return back


def test_a_far_side_may_be_named_by_its_ipv6_address(tmp_path: Path) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with a_far_side("::1") as far:
        host = Pushing(tmp_path, tmp_path / "unused")
        host.reach(far)
        (host.tree / "file").write_text("file")

        report = host.back_up(TARGET=far.target("/~/us0", "[::1]"))

        assert report.status == "complete"
        assert (host.there / "tree/file").read_text() == "file"


def test_a_night_that_was_killed_is_known_over_there_and_the_next_one_compares_everything(host: Pushing) -> None:
    host.back_up()
    killer = host.place / "rsync"
    killer.write_text('#!/bin/sh\ncase "$*" in *--stats*) kill -9 $PPID;; *) exec rsync "$@";; esac\n')
    killer.chmod(0o755)
    host.configure(RSYNC=str(killer))

    ended = as_agent(host, "run")

    assert ended.returncode == -signal.SIGKILL
    assert (host.report_there()["status"], host.report_there().get("receiver")) == ("partial", None)
    assert host.back_up().status == "complete-with-warnings"
    assert any("no tree of a push that came to its end" in line for line in host.said)
    assert host.report_there()["status"] == "complete-with-warnings"


def test_a_partial_night_is_told_over_there_too(host: Pushing) -> None:
    failing = host.place / "rsync"
    failing.write_text('#!/bin/sh\nrsync "$@"; code=$?\ncase "$*" in *--stats*) code=23;; esac\nexit $code\n')
    failing.chmod(0o755)

    report = host.back_up(RSYNC=str(failing))

    assert (report.status, report.receiver) == ("partial", None)
    assert host.report_there()["status"] == "partial"


@pytest.mark.parametrize(
    ("says", "is_full"),
    [
        ('rsync: [receiver] write failed on "/srv/x" (in tree): No space left on device (28)', True),
        ('rsync: [receiver] mkstemp "/srv/.x.8jU" (in tree) failed: Disk quota exceeded (122)', True),
        ('rsync: [receiver] rsync_xal_set: lsetxattr("d/one","user.a") failed: No space left on device (28)', False),
    ],
    ids=["a disk", "a quota", "an attribute"],
)
def test_a_far_side_that_is_full_is_told_with_what_to_do(host: Pushing, says: str, is_full: bool) -> None:
    program = host.place / "rsync"
    told = f'case "$*" in *--stats*) echo {shlex.quote(says)} >&2; code=23;; esac'
    program.write_text(f'#!/bin/sh\nrsync "$@"; code=$?\n{told}\nexit $code\n')
    program.chmod(0o755)

    report = host.back_up(RSYNC=str(program))

    make_room = f"{host.far.target('/~/us0')} is full: make room there, or get more of it"
    assert report.status == "partial"
    assert tuple(dict.fromkeys(report.problems)) == ((make_room, says) if is_full else (says,))
    assert host.report_there()["problems"] == list(report.problems)


def test_what_is_another_hosts_is_not_touched(host: Pushing) -> None:
    (host.there / "tree").mkdir(parents=True)
    report = json.loads((Path(__file__).parents[1] / "contract/wire/report.json").read_text())
    (host.there / "report.json").write_text(json.dumps({**report, "host": "eu0"}))
    before = entries(host.there)

    with pytest.raises(Refused, match="holds the backup of eu0; HOST is us0"):
        host.back_up()

    assert differing(entries(host.there), before) == {}


def test_a_damaged_report_of_the_last_night_is_named_and_the_next_one_compares_everything(host: Pushing) -> None:
    host.back_up()
    whole = (host.there / "report.json").read_bytes()
    (host.there / "report.json").write_bytes(whole[: len(whole) // 2])
    (host.there / "tree/file").write_text("rots")

    listed, newest = as_agent(host, "list"), as_agent(host, "restore", str(host.tree / "file"), cwd=host.place)
    named = as_agent(host, "restore", str(host.tree / "file"), "--at", "damaged-report", cwd=host.place)
    report = host.back_up()

    assert "damaged-report  NOT WHOLE: nobody knows whether it is" in listed.stdout
    assert "report is damaged: report is not JSON" in listed.stdout
    assert (newest.returncode, "damaged-report is not whole" in newest.stderr) == (PermanentError.exit_code, True)
    assert (named.returncode, (host.place / "restored-us0-damaged-report").is_dir()) == (0, True), named.stderr
    assert report.status == "complete"
    assert any("report is damaged: report is not JSON" in said for said in host.said)
    assert differing(entries(fetched(host)), entries(host.tree)) == {}
    assert host.report_there() == json.loads(host.paths.last_report.read_bytes())


def test_a_report_of_a_later_version_is_named_as_that_and_not_touched(host: Pushing) -> None:
    host.back_up()
    later = {**host.report_there(), "schema": 2}
    (host.there / "report.json").write_text(json.dumps(later))
    before = entries(host.there)

    listed, newest = as_agent(host, "list"), as_agent(host, "restore", str(host.tree / "file"), cwd=host.place)
    named = as_agent(host, "restore", str(host.tree / "file"), "--at", "later-report", cwd=host.place)
    with pytest.raises(Refused, match="report is of schema 2, and this version knows 1: use a later one"):
        host.back_up()

    assert differing(entries(host.there), before) == {}
    assert "later-report  NOT WHOLE: nobody knows whether it is" in listed.stdout
    assert "was written by a later version" in listed.stdout and "damaged" not in listed.stdout
    assert (newest.returncode, "later-report is not whole" in newest.stderr) == (PermanentError.exit_code, True)
    assert (named.returncode, (host.place / "restored-us0-later-report/file").exists()) == (0, True), named.stderr


def test_a_damaged_report_where_this_host_has_not_pushed_may_be_anybodys_and_is_not_touched(host: Pushing) -> None:
    (host.there / "tree").mkdir(parents=True)
    (host.there / "report.json").write_text('{"schema": 1, "host": "us0"')
    before = entries(host.there)

    with pytest.raises(Refused, match=r"report is damaged: .*; name another place"):
        host.back_up()

    assert differing(entries(host.there), before) == {}


def test_a_directory_that_has_lost_its_mark_is_not_written_to_after_a_night_elsewhere_either(host: Pushing) -> None:
    host.back_up(TARGET=str(host.target))
    host.back_up()
    shutil.rmtree(host.target)
    host.target.mkdir()

    with pytest.raises(Refused, match="is not what it was at the last backup"):
        host.back_up(TARGET=str(host.target))


def test_a_tree_that_nobody_has_marked_is_not_touched(host: Pushing) -> None:
    (host.there / "tree").mkdir(parents=True)
    (host.there / "tree/photo").touch()

    with pytest.raises(Refused, match=r"has a tree and no report\.json that says whose it is"):
        host.back_up()

    assert (host.there / "tree/photo").exists()


def test_a_place_that_cannot_be_made_is_named(host: Pushing) -> None:
    host.path = "/~/not/there/us0"

    with pytest.raises(PermanentError, match="what leads to not/there/us0 is not there"):
        host.back_up()


def test_the_next_key_becomes_the_key_as_soon_as_the_far_side_takes_it(host: Pushing) -> None:
    key, following, authorized = host.place / "key", host.place / "key.next", host.far.place / "authorized"
    shutil.copy(host.far.key, key)
    keys.make(following, "us0")
    old, new, before = key.read_bytes(), following.read_bytes(), authorized.read_text()

    host.back_up(KEY=str(key))
    not_yet = key.read_bytes()
    first_line = before.splitlines()[0]
    authorized.write_text(f"{before}{first_line.partition(' ssh-ed25519 ')[0]} {keys.public(following)}\n")
    try:
        report = host.back_up(KEY=str(key))
    finally:
        authorized.write_text(before)

    assert not_yet == old
    assert (report.status, key.read_bytes(), following.exists()) == ("complete", new, False)


def test_a_key_that_cannot_be_used_ends_the_night_at_once_and_is_named(host: Pushing) -> None:
    key = host.place / "key"

    with pytest.raises(PermanentError, match=rf"KEY {key}: No such file or directory: ebbtide-agent install makes it"):
        host.back_up(KEY=str(key))
    shutil.copy(host.far.key, key)
    key.chmod(0o644)
    with pytest.raises(PermanentError, match=rf"KEY {key} is open to others \(0644\): chmod 600 {key}"):
        host.back_up(KEY=str(key))

    assert not any("trying again" in line for line in host.said)


def test_a_far_side_whose_key_nobody_has_pinned_under_its_name_ends_the_night_at_once(host: Pushing) -> None:
    pinned, port = host.place / "known_hosts", host.far.port

    with pytest.raises(
        PermanentError, match=rf"KNOWN_HOSTS {pinned}: No such file or directory: ebbtide-agent install"
    ):
        host.back_up(KNOWN_HOSTS=str(pinned))
    pinned.write_text(f"[localhost]:{port} {(host.far.place / 'host-key.pub').read_text()}")
    lacks = rf"has no key of localhost, but one of \[localhost\]:{port} in line 1: write localhost there instead"
    with pytest.raises(PermanentError, match=lacks):
        host.back_up(KNOWN_HOSTS=str(pinned))

    assert not any("trying again" in line for line in host.said)
    assert not host.there.exists()


@pytest.mark.fault("N7")
def test_who_answers_with_another_key_than_the_pinned_one_gets_nothing(host: Pushing) -> None:
    pinned = host.place / "known_hosts"
    pinned.write_text(f"localhost {host.far.key.with_suffix('.pub').read_text()}")

    host.configure(KNOWN_HOSTS=str(pinned))
    world = World(lambda: datetime.now(UTC))
    way = way_to(load(host.paths), host.paths, world)

    with pytest.raises(TransientError, match="nothing was sent"):
        way.hello(until=world.clock())

    assert not host.there.exists()
