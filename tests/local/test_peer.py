"""Two servers that back each other up: real sshd, gate, confined rsync and snapshots, and no AWS anywhere."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent import moments
from ebbtide_agent.entry import Entry
from ebbtide_agent.fakesuper import read_fake
from ebbtide_agent.peer.night import LASTS, find_night, write_night
from ebbtide_agent.receiver import confine
from ebbtide_console.sandbox import awkward
from tests.local.edits import take_the_place
from tests.local.own_nights import differing, entries, hashed
from tests.local.peers import Server, servers
from tests.local.receiver_machine import MAY_MOUNT, MISSING, wait_until

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="a user id for each host needs root")
needs_mounts = pytest.mark.skipif(
    IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
STRONGEST = confine.SEPARATE if IS_ROOT else confine.OWN
KINDS = [
    pytest.param(confine.SEPARATE, marks=needs_root),
    pytest.param(confine.OWN, marks=needs_mounts),
    pytest.param(confine.MUNGED, marks=needs_mounts),
]
_FORM = "%Y-%m-%dT%H-%M-%SZ"


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Server, ...]]:
    """us0 and eu0, each with a tree; each takes the other's backups."""
    with servers(getattr(request, "param", STRONGEST), "us0", "eu0") as (us0, eu0):
        us0.take(eu0, "--keep", "2")
        eu0.take(us0, "--keep", "2")
        for server in (us0, eu0):
            server.serve()
            (awkward.grow if IS_ROOT else awkward.grow_plain)(server.tree)
        yield us0, eu0


def as_the_host_was(tree: Path, munged: bool) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in read_fake(tree, munged, hashed)}


def a_day_passes(keeper: Server, guest: Server) -> None:
    """What is kept becomes a day older."""
    place = keeper.store.snapshots(guest.id).path
    for name in keeper.snapshots_of(guest):
        before = datetime.strptime(name, _FORM) - timedelta(days=1)
        (place / name).rename(place / before.strftime(_FORM))


def edit(tree: Path) -> None:
    """What must not reach through to an earlier snapshot: attributes alone, in place, and a link that is broken."""
    (tree / "a/file").chmod(0o640)
    os.utime(tree / "empty", ns=(1, 1))
    with (tree / "sparse").open("r+b") as file:
        file.seek(21 << 20)
        file.write(b"in place")
    take_the_place(tree / "hard-2")
    (tree / "hello").unlink()
    (tree / "new").write_text("new")


def edit_again(tree: Path) -> None:
    with (tree / "sparse").open("r+b") as file:
        file.write(b"again")
    (tree / "new").chmod(0o600)
    (tree / "z").rename(tree / "zz")


@pytest.mark.parametrize("pair", KINDS, indirect=True)
def test_two_servers_back_each_other_up_and_each_snapshot_is_the_host_as_it_was(
    pair: tuple[Server, Server], request: pytest.FixtureRequest
) -> None:
    us0, eu0 = pair
    munged = request.node.callspec.params["pair"] == confine.MUNGED
    nights: list[Callable[[Path], None]] = [lambda _: None, edit, edit_again]

    for number, change in enumerate(nights, start=1):
        for host, keeper in ((us0, eu0), (eu0, us0)):
            a_day_passes(keeper, host)
            earlier = {name: entries(keeper.snapshot(host, name)) for name in keeper.snapshots_of(host)}
            change(host.tree)

            ended = host.back_up_to(keeper)

            assert ended.returncode == 0, ended.stdout + ended.stderr + keeper.said()
            names = keeper.await_snapshots(host, min(number, 2))
            newest = keeper.snapshot(host, names[-1])
            assert differing(as_the_host_was(newest, munged), entries(host.tree)) == {}
            assert [differing(entries(keeper.snapshot(host, name)), earlier[name]) for name in names[:-1]] in ([], [{}])
            assert inodes(newest) & inodes(keeper.store.tree(host.id)) == set()
    for server in pair:
        assert server.peer("status").returncode == 0, server.peer("status").stdout


def inodes(tree: Path) -> set[int]:
    return {path.lstat().st_ino for path in tree.rglob("*") if not path.is_dir()}


@pytest.mark.fault("X1")
@needs_root
def test_a_hosts_key_reaches_neither_its_history_nor_anybody_else(tmp_path: Path) -> None:
    with servers(confine.SEPARATE, "us0", "eu0", "us1") as (us0, eu0, us1):
        for guest in (us0, us1):
            eu0.take(guest)
            (guest.tree / "file").write_text(guest.name)
        eu0.serve()
        for guest in (us0, us1):
            assert guest.back_up_to(eu0).returncode == 0
            eu0.await_snapshots(guest, 1)
        before = everything_but(eu0, us0)
        (tmp_path / "evil").write_text("evil")
        assert us0.ssh(eu0, "hello").returncode == 0

        words = ("rsync", "-a", "-e", shlex.join(us0.ssh_argv(eu0)))
        for place in ("tree/../snapshots/", "tree/../../us1a/tree/", "snapshots/", "hosts/", "us1a/"):
            subprocess.run([*words, f"{tmp_path}/", f"127.0.0.1::{place}"], capture_output=True)
        for place in ("tree/", "snapshots/", "2026-11-23.1/"):
            fetched = subprocess.run([*words, f"127.0.0.1::{place}", str(tmp_path / "got")], capture_output=True)
            assert fetched.returncode != 0
        for command in ("", "sh", "peer gate us1a", "rsync --server . /", "peer serve"):
            assert us0.ssh(eu0, *([command] if command else [])).returncode == 77

        assert not (tmp_path / "got").exists()
        assert differing(everything_but(eu0, us0), before) == {}


def everything_but(keeper: Server, guest: Server) -> dict[bytes, Entry]:
    """All that is kept, without the one tree that the guest may write to."""
    found = entries(keeper.store.hosts)
    its_own = os.fsencode(f"{guest.id}/tree")
    changing = {os.fsencode(guest.id), os.fsencode(f"{guest.id}/status.json")}
    return {path: each for path, each in found.items() if not path.startswith(its_own) and path not in changing}


def test_a_night_that_did_not_end_well_makes_no_snapshot_and_lets_none_go(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.back_up_to(eu0).returncode == 0
    kept = eu0.await_snapshots(us0, 1)
    broken = us0.place / "rsync"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exec rsync --version\nrsync "$@"; exit 23\n')
    broken.chmod(0o755)
    (us0.tree / "new").write_text("new")

    ended = us0.back_up_to(eu0, RSYNC=str(broken))

    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "partial in peer/" in eu0.peer("status").stdout
    assert us0.back_up_to(eu0).returncode == 0
    assert eu0.await_snapshots(us0, 2)[0] == kept[0]


_KILLED = """
import os, signal, sys
from datetime import datetime, timezone
from pathlib import Path
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import Peer
peer = Peer(HostPaths(Path(sys.argv[1]), Path(sys.argv[2])), lambda: datetime.now(timezone.utc))
left = 10
def is_over():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return False
Keeper(peer, peer.register.guests[0], print, is_over).keep()
"""


@pytest.mark.fault("H6")
def test_a_snapshot_that_was_cut_short_is_made_before_anything_else_happens(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.ssh(eu0, "hello").returncode == 0, "the store is not there"
    assert eu0.process
    os.kill(eu0.process.pid, signal.SIGSTOP)
    try:
        assert us0.back_up_to(eu0).returncode == 0
        killed = subprocess.run(
            [sys.executable, "-c", _KILLED, str(eu0.places.etc), str(eu0.places.state)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": "agent"},
        )
        too_early = us0.ssh(eu0, "hello")
        left_behind = eu0.store.snapshots(us0.id).making.is_dir()
    finally:
        os.kill(eu0.process.pid, signal.SIGCONT)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert left_behind and eu0.snapshots_of(us0) == ()
    assert too_early.returncode == 75 and b"the snapshot of the last night is not made yet" in too_early.stderr
    (name,) = eu0.await_snapshots(us0, 1)
    assert differing(as_the_host_was(eu0.snapshot(us0, name), munged=False), entries(us0.tree)) == {}


_FILLED = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import Peer
peer = Peer(HostPaths(Path(sys.argv[1]), Path(sys.argv[2])), lambda: datetime.now(timezone.utc))
print(Keeper(peer, peer.register.guests[0], print).keep())
"""


@needs_root
@pytest.mark.fault("R5")
def test_a_snapshot_that_does_not_fit_costs_no_other_and_the_tree_waits_for_it(pair: tuple[Server, Server]) -> None:
    """The store as it was, on a disk that has no more room than for what is on it."""
    us0, eu0 = pair
    assert us0.back_up_to(eu0).returncode == 0
    kept = eu0.await_snapshots(us0, 1)
    with (us0.tree / "more").open("wb") as file:
        file.write(os.urandom(4 << 20))
    assert eu0.process
    os.kill(eu0.process.pid, signal.SIGSTOP)
    try:
        assert us0.back_up_to(eu0).returncode == 0
        store, small = eu0.store.store, eu0.place / "small"
        small.mkdir()
        used = subprocess.run(["du", "-sk", str(store)], capture_output=True, text=True, check=True).stdout.split()[0]
        size = f"size={int(used) + 2048}k"
        script = (
            f"mount -t tmpfs -o {size} tmpfs {small} && cp -a {store}/. {small} && mount --move {small} {store}"
            f' && "$@"; find {store.as_posix()}/hosts/us0a/snapshots -mindepth 1 -maxdepth 1'
        )
        kept_in = [sys.executable, "-c", _FILLED, str(eu0.places.etc), str(eu0.places.state)]
        ended = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *kept_in],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": "agent"},
        )
        standing = eu0.peer("status")
        waiting = us0.ssh(eu0, "hello")
    finally:
        os.kill(eu0.process.pid, signal.SIGCONT)

    said, made, *left = ended.stdout.splitlines()
    assert "no snapshot of us0: " in said and "No space left on device" in said, ended.stdout + ended.stderr
    assert made == "False" and [Path(each).name for each in left] == [*kept]
    assert standing.returncode == 1 and "one is due; no snapshot could be made: " in standing.stdout
    assert waiting.returncode == 75 and b"No space left on device" in waiting.stderr
    assert eu0.await_snapshots(us0, 2)[0] == kept[0]
    assert eu0.peer("status").returncode == 0


@pytest.mark.fault("R3")
def test_a_store_that_is_not_mounted_is_not_written_to(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    store, aside = eu0.store.store, eu0.place / "aside"
    store.rename(aside)
    store.mkdir()

    ended = us0.back_up_to(eu0)
    standing = eu0.peer("status")
    eu0.stop()
    served = eu0.peer("serve")

    assert ended.returncode == 77 and "mount the file system that has it" in ended.stderr, ended.stderr
    assert standing.returncode == 1 and "has no receiver.json" in standing.stderr
    assert served.returncode == 77 and "has no receiver.json" in served.stderr
    assert list(store.iterdir()) == []
    store.rmdir()
    aside.rename(store)
    eu0.serve()
    assert us0.back_up_to(eu0).returncode == 0


def test_a_host_whose_key_changes_has_one_night(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    following = us0.key.with_name("key.next")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(following)], check=True)
    both = [key.with_name(f"{key.name}.pub").read_text().strip() for key in (us0.key, following)]
    added = eu0.peer("add", "us0", *(word for key in both for word in ("--key", key)))

    ended = us0.back_up_to(eu0)

    assert added.returncode == 0, added.stderr
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "takes the new key" in ended.stdout + ended.stderr
    assert eu0.await_snapshots(us0, 1)


def test_who_is_removed_gets_in_no_more_and_what_is_kept_goes_only_when_it_is_said(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.back_up_to(eu0).returncode == 0
    eu0.await_snapshots(us0, 1)

    shown = eu0.peer("remove", "us0")
    removed = eu0.peer("remove", "us0", "--yes")
    refused = us0.ssh(eu0, "hello")
    stays = eu0.snapshots_of(us0)
    eu0.take(us0)
    forgotten = eu0.peer("remove", "us0", "--forget", "--yes")

    assert shown.returncode == 77 and "say --yes" in shown.stderr
    assert removed.returncode == 0, removed.stderr
    assert refused.returncode == 255 and b"Permission denied" in refused.stderr
    assert len(stays) == 1
    assert forgotten.returncode == 0, forgotten.stderr
    assert not eu0.store.host(us0.id).exists()
    wait_until(lambda: not eu0.ended(), "a peer that goes on")


def test_a_host_reads_its_past_while_it_is_open_and_neither_before_nor_after(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.back_up_to(eu0).returncode == 0
    (name,) = eu0.await_snapshots(us0, 1)

    before = us0.past("list")
    opened = eu0.peer("open", "us0", "--for", "1h")
    listed = us0.past("list")
    fetched = us0.past("restore", str(us0.tree / "a"), "--into", str(us0.place / "back"), "--yes")
    pushed = us0.ssh(eu0, "hello")
    writing = ["rsync", "-a", "-e", shlex.join(us0.ssh_argv(eu0)), f"{us0.tree}/a/file", f"127.0.0.1::{name}/evil"]
    written = subprocess.run(writing, capture_output=True)
    closed = eu0.peer("close", "us0")
    after = us0.past("restore", str(us0.tree / "a"), "--into", str(us0.place / "late"), "--yes")
    of_another = eu0.ssh(us0, "list")

    assert before.returncode == 1 and "peer open us0 --for 2h" in before.stdout
    assert opened.returncode == 0, opened.stderr
    assert listed.returncode == 0 and listed.stdout.startswith(name), listed.stderr
    assert fetched.returncode == 0, fetched.stderr
    assert differing(entries(us0.place / "back/a"), entries(us0.tree / "a")) == {}
    assert pushed.returncode == 75 and b"may read its past" in pushed.stderr
    assert written.returncode != 0 and not (eu0.snapshot(us0, name) / "evil").exists()
    assert closed.returncode == 0, closed.stderr
    assert after.returncode != 0 and not (us0.place / "late").exists()
    assert of_another.returncode == 0 and b'"points": []' in of_another.stdout
    assert us0.back_up_to(eu0).returncode == 0


@needs_root
def test_who_still_reads_when_the_time_is_up_is_ended(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.back_up_to(eu0).returncode == 0
    eu0.await_snapshots(us0, 1)
    assert eu0.peer("open", "us0", "--for", "1h").returncode == 0
    register = json.loads(eu0.places.peer.read_bytes())
    register["guests"][0]["open_until"] = moments.write(datetime.now(UTC) + timedelta(seconds=4))
    eu0.places.peer.write_text(json.dumps(register))

    ended = a_session(us0, eu0).wait(60)

    assert ended == 128 + signal.SIGALRM


def a_session(guest: Server, keeper: Server) -> "subprocess.Popen[bytes]":
    """One with rsync that has begun, and does nothing."""
    session = subprocess.Popen(
        [*guest.ssh_argv(keeper), "127.0.0.1", "rsync --server --daemon ."],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert session.stdout and session.stdout.readline().startswith(b"@RSYNCD:")
    return session


@pytest.mark.parametrize("words", [("close", "us0"), ("remove", "us0", "--yes")], ids=["closed", "removed"])
def test_who_still_reads_when_it_is_closed_is_ended(pair: tuple[Server, Server], words: tuple[str, ...]) -> None:
    us0, eu0 = pair
    assert us0.back_up_to(eu0).returncode == 0
    eu0.await_snapshots(us0, 1)
    assert eu0.peer("open", "us0", "--for", "1h").returncode == 0
    reading = a_session(us0, eu0)

    closed = eu0.peer(*words)

    assert closed.returncode == 0, closed.stderr
    assert reading.wait(60) == 128 + signal.SIGTERM


def test_a_session_that_never_ends_keeps_no_key_that_is_to_go(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.ssh(eu0, "hello").returncode == 0
    pushing = a_session(us0, eu0)

    removed = eu0.peer("remove", "us0", "--yes")

    assert removed.returncode == 0, removed.stderr
    assert pushing.wait(60) == 128 + signal.SIGTERM
    assert b"Permission denied" in us0.ssh(eu0, "hello").stderr
    assert not eu0.ended()


def test_a_push_that_never_ends_ends_with_its_night(pair: tuple[Server, Server]) -> None:
    us0, eu0 = pair
    assert us0.ssh(eu0, "hello").returncode == 0
    night = find_night(eu0.store.night(us0.id))
    assert night
    write_night(eu0.store.night(us0.id), replace(night, opened=datetime.now(UTC) - LASTS + timedelta(seconds=4)))

    ended = a_session(us0, eu0).wait(60)

    assert ended == 128 + signal.SIGALRM
    assert us0.back_up_to(eu0).returncode == 0
