"""Two servers that back each other up: real sshd, gate, confined rsync and snapshots, and no AWS anywhere."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.entry import Entry
from ebbtide_agent.fakesuper import read_fake
from ebbtide_agent.peer.register import Guest, encode_register, get_register
from ebbtide_agent.peer.sessions import changing_alone
from ebbtide_agent.receiver import confine
from tests.local.edits import take_the_place
from tests.local.own_nights import differing, entries, hashed
from tests.local.peers import STRONGEST, Server, Trio, a_peer_and_its_guests, grow, servers, sow
from tests.local.receiver_machine import MAY_MOUNT, MISSING, wait_until
from tests.patience import for_make_long

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="a user id for each host needs root")
needs_mounts = pytest.mark.skipif(
    IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
WEAKER = [
    pytest.param(confine.OWN, marks=(needs_root, needs_mounts, for_make_long)),
    pytest.param(confine.MUNGED, marks=needs_mounts),
]
_FORM = "%Y-%m-%dT%H-%M-%SZ"
Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def peer() -> Iterator[Trio]:
    """The same for all: what a test does to it is undone, or in nobody's way."""
    with a_peer_and_its_guests(STRONGEST) as trio:
        yield trio


@contextmanager
def held_up(keeper: Server) -> Iterator[None]:
    """Who serves there makes no snapshot meanwhile, and is in nobody's way."""
    assert keeper.process
    server = keeper.process.pid
    wait_until(lambda: is_held_up(server, keeper), "the one who serves to be at nothing")
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


def is_held_up(server: int, keeper: Server) -> bool:
    """Stopped for good, if that was not in the middle of a guest's lease."""
    os.kill(server, signal.SIGSTOP)
    wait_until(lambda: "T (stopped)" in Path(f"/proc/{server}/status").read_text(), "the one who serves to stop")
    if not any(is_had(keeper.store.lease(guest)) for guest in ("us0a", "us1a")):
        return True
    os.kill(server, signal.SIGCONT)
    return False


def is_had(lease: Path) -> bool:
    """By anybody, also who has not written down yet who that is, or not any more."""
    held = Path("/proc/locks").read_text()
    return lease.exists() and f":{lease.stat().st_ino} " in held


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


def as_it_is(_: Path) -> None:
    pass


def a_night(host: Server, keeper: Server, change: Edit, kept: int, munged: bool = False) -> None:
    """The next day's: then there are so many snapshots, the newest is the host, and the earlier are as they were."""
    a_day_passes(keeper, host)
    earlier = {name: entries(keeper.snapshot(host, name)) for name in keeper.snapshots_of(host)}
    change(host.tree)

    ended = host.back_up_to(keeper)

    assert ended.returncode == 0, ended.stdout + ended.stderr + keeper.said()
    *before, newest = keeper.await_snapshots(host, kept)
    assert differing(as_the_host_was(keeper.snapshot(host, newest), munged), entries(host.tree)) == {}
    for name in before:
        assert differing(entries(keeper.snapshot(host, name)), earlier[name]) == {}
    assert inodes(keeper.snapshot(host, newest)) & inodes(keeper.store.tree(host.id)) == set()


def test_two_servers_back_each_other_up_and_each_snapshot_is_the_host_as_it_was() -> None:
    with servers(STRONGEST, "us0", "eu0") as (us0, eu0):
        for host, keeper in ((us0, eu0), (eu0, us0)):
            keeper.take(host, "--keep", "2")
            keeper.serve()
        grow(us0.tree)
        sow(eu0.tree)

        a_night(eu0, us0, as_it_is, 1)
        for change, kept in ((as_it_is, 1), (edit, 2), (edit_again, 2)):
            a_night(us0, eu0, change, kept)

        for server in (us0, eu0):
            assert server.peer("status").returncode == 0, server.peer("status").stdout


@pytest.mark.parametrize("kind", WEAKER)
def test_behind_weaker_walls_a_snapshot_is_the_host_as_it_was_as_well(kind: str) -> None:
    with servers(kind, "us0", "eu0") as (us0, eu0):
        eu0.take(us0)
        eu0.serve()
        grow(us0.tree)

        for change, kept in ((as_it_is, 1), (edit, 2)):
            a_night(us0, eu0, change, kept, munged=kind == confine.MUNGED)


def inodes(tree: Path) -> set[int]:
    return {path.lstat().st_ino for path in tree.rglob("*") if not path.is_dir()}


@pytest.mark.fault("X1")
@needs_root
def test_a_hosts_key_reaches_neither_its_history_nor_anybody_else(peer: Trio, tmp_path: Path) -> None:
    eu0, us0, us1 = peer
    us1.complete_night(eu0)
    before = everything_but(eu0, us0)
    (tmp_path / "evil").write_text("evil")
    assert us0.ssh(eu0, "hello").returncode == 0

    words = ("rsync", "-a", "-e", shlex.join(us0.ssh_argv(eu0)))
    for place in ("tree/../snapshots/", "tree/../../us1a/tree/", "hosts/"):
        subprocess.run([*words, f"{tmp_path}/", f"127.0.0.1::{place}"], capture_output=True)
    for place in ("tree/", "2026-11-23.1/"):
        fetched = subprocess.run([*words, f"127.0.0.1::{place}", str(tmp_path / "got")], capture_output=True)
        assert fetched.returncode != 0
    for command in ("peer gate us1a", "rsync --server . /"):
        assert us0.ssh(eu0, command).returncode == 77

    assert not (tmp_path / "got").exists()
    assert differing(everything_but(eu0, us0), before) == {}


def everything_but(keeper: Server, guest: Server) -> dict[bytes, Entry]:
    """All that is kept, without the one tree that the guest may write to."""
    found = entries(keeper.store.hosts)
    its_own = os.fsencode(f"{guest.id}/tree")
    changing = {os.fsencode(guest.id), os.fsencode(f"{guest.id}/status.json")}
    return {path: each for path, each in found.items() if not path.startswith(its_own) and path not in changing}


@needs_root
def test_what_a_guest_brings_belongs_to_a_user_of_its_own(peer: Trio) -> None:
    eu0, us0, us1 = peer

    (of_us0,), (of_us1,) = ({path.lstat().st_uid for path in below(eu0.store.tree(each.id))} for each in (us0, us1))

    assert len({os.geteuid(), of_us0, of_us1}) == 3


def test_a_session_does_not_begin_with_what_the_users_shell_begins_with(peer: Trio) -> None:
    """sshd's bash reads ~/.bashrc, also for a forced command; what that says would come before the gate's words."""
    run = peer[0].store.run

    [environment] = [line for line in (run / "sshd_config").read_text().splitlines() if line.startswith("SetEnv")]

    assert f'"HOME={run}"' in environment
    assert not list(run.glob(".*"))


def below(tree: Path) -> Iterator[Path]:
    """What is in it, and the tree itself."""
    yield tree
    yield from tree.rglob("*")


def test_a_night_that_did_not_end_well_makes_no_snapshot_and_lets_none_go(peer: Trio) -> None:
    eu0, us0, _ = peer
    kept = eu0.snapshots_of(us0)
    broken = us0.place / "rsync"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exec rsync --version\nrsync "$@"; exit 23\n')
    broken.chmod(0o755)
    (us0.tree / "new").write_text("new")

    ended = us0.back_up_to(eu0, RSYNC=str(broken))

    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "partial in peer/" in eu0.peer("status").stdout
    assert us0.complete_night(eu0)[:-1] == kept


def run_here(keeper: Server, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """A script on the peer's machine, started by these words."""
    argv = [*words, sys.executable, "-c", script, str(keeper.places.etc), str(keeper.places.state)]
    return subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "agent"})


_KILLED = """
import os, signal, sys
from datetime import datetime, timezone
from pathlib import Path
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import peer_at
peer = peer_at(HostPaths(Path(sys.argv[1]), Path(sys.argv[2])), lambda: datetime.now(timezone.utc))
left = 3
def is_over():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return False
Keeper(peer, peer.register.guests[0], print, is_over).keep()
"""


@pytest.mark.fault("H6")
def test_a_snapshot_that_was_cut_short_is_made_before_anything_else_happens(peer: Trio) -> None:
    eu0, us0, _ = peer
    kept = eu0.snapshots_of(us0)
    with held_up(eu0):
        assert us0.back_up_to(eu0).returncode == 0
        killed = run_here(eu0, _KILLED)
        too_early = us0.ssh(eu0, "hello")
        left_behind = eu0.store.snapshots(us0.id).making.is_dir()

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert left_behind and eu0.snapshots_of(us0) == kept
    assert too_early.returncode == 75 and b"the snapshot of the last night is not made yet" in too_early.stderr
    *before, name = eu0.await_snapshots(us0)
    assert before == [*kept]
    assert differing(as_the_host_was(eu0.snapshot(us0, name), munged=False), entries(us0.tree)) == {}


_FILLED = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import peer_at
peer = peer_at(HostPaths(Path(sys.argv[1]), Path(sys.argv[2])), lambda: datetime.now(timezone.utc))
print(Keeper(peer, peer.register.guests[0], print).keep())
"""


@needs_root
@pytest.mark.fault("R5")
def test_a_snapshot_that_does_not_fit_costs_no_other_and_the_tree_waits_for_it(peer: Trio) -> None:
    """The store as it was, on a disk that has no more room than for what is on it."""
    eu0, us0, _ = peer
    kept = eu0.snapshots_of(us0)
    with (us0.tree / "more").open("wb") as file:
        file.write(os.urandom(4 << 20))
    store, small = eu0.store.store, eu0.place / "small"
    small.mkdir()
    with held_up(eu0):
        assert us0.back_up_to(eu0).returncode == 0
        used = subprocess.run(["du", "-sk", str(store)], capture_output=True, text=True, check=True).stdout.split()[0]
        size = f"size={int(used) + 2048}k"
        script = (
            f"mount -t tmpfs -o {size} tmpfs {small} && cp -a {store}/. {small} && mount --move {small} {store}"
            f' && "$@"; find {store.as_posix()}/hosts/us0a/snapshots -mindepth 1 -maxdepth 1'
        )
        ended = run_here(eu0, _FILLED, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
        standing = eu0.peer("status")
        waiting = us0.ssh(eu0, "hello")

    said, made, *left = ended.stdout.splitlines()
    assert "no snapshot of us0: " in said and "No space left on device" in said, ended.stdout + ended.stderr
    assert made == "False" and sorted(Path(each).name for each in left) == [*kept]
    assert standing.returncode == 1 and "one is due; no snapshot could be made: " in standing.stdout
    assert waiting.returncode == 75 and b"No space left on device" in waiting.stderr
    assert eu0.await_snapshots(us0)[:-1] == kept
    assert eu0.peer("status").returncode == 0


@pytest.mark.fault("R3")
def test_a_store_that_is_not_mounted_is_not_written_to(peer: Trio) -> None:
    eu0, us0, _ = peer
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


def test_a_host_whose_key_changes_has_one_night(peer: Trio) -> None:
    eu0, us0, _ = peer
    following = us0.key.with_name("key.next")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(following)], check=True)
    both = [key.with_name(f"{key.name}.pub").read_text().strip() for key in (us0.key, following)]
    added = eu0.peer("add", "us0", *(word for key in both for word in ("--key", key)), program=eu0.agent)

    ended = us0.back_up_to(eu0)

    assert added.returncode == 0, added.stderr
    assert f" {eu0.store.program} peer gate" in eu0.store.authorized_keys.read_text(), "it is compiled at each word"
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "takes the new key" in ended.stdout + ended.stderr
    assert eu0.await_snapshots(us0)


FULL = """
set -e
mount -t tmpfs -o nr_inodes=40 tmpfs "$1"
cp -a "$2/." "$1"
while touch "$1/$((number += 1))" 2> /dev/null; do :; done
shift 2
exec "$@"
"""


@pytest.mark.skipif(not MAY_MOUNT, reason="a file system without inodes needs a mount namespace")
@pytest.mark.parametrize("where", ["full", f"{'d' * 60}/where-sockets-must-be-elsewhere"])
def test_a_host_whose_own_disk_has_no_inode_left_has_its_night(peer: Trio, where: str) -> None:
    eu0, us0, _ = peer
    full = us0.place / where
    full.mkdir(parents=True)
    run = [*us0.running(full), "--json"]

    within = ["unshare", "--mount", "sh", "-c", FULL, "sh", str(full), str(us0.place / "state")]
    ended = subprocess.run([*within, *run], capture_output=True, text=True, timeout=180)

    assert ended.returncode == 0, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "connections are not shared" in ended.stderr
    eu0.await_snapshots(us0)


def test_of_two_changes_of_whom_it_takes_at_once_both_are_made() -> None:
    with servers(STRONGEST, "eu0", "us0") as (eu0, us0):
        eu0.take(us0)

        for number, words in enumerate(("add us0 --keep 3", "open us0 --for 2h", "close us0", "remove us0 --yes")):
            before = the_guests(eu0)
            meanwhile = replace(before["us0"], name=f"us{number + 1}", id=f"us{number + 1}a", keys=())
            ended = at_once(eu0, words.split(), meanwhile)

            assert ended.returncode == 0, ended.stderr
            after = the_guests(eu0)
            assert after.pop(meanwhile.name) == meanwhile
            assert after.get("us0") != before["us0"]


def the_guests(peer: Server) -> dict[str, Guest]:
    return {guest.name: guest for guest in get_register(peer.places.peer).guests}


def at_once(peer: Server, words: Sequence[str], guest: Guest) -> "subprocess.CompletedProcess[str]":
    """What becomes of a change while another one takes this guest as well."""
    with ThreadPoolExecutor() as beside:
        with changing_alone(peer.store):
            before = get_register(peer.places.peer)
            changing = beside.submit(peer.peer, *words)
            wait_until(lambda: changing.done() or is_waited_for(peer.store.changing), "the other change")
            peer.places.peer.write_bytes(encode_register(before.with_guest(guest)))
        return changing.result()


def is_waited_for(lock: Path) -> bool:
    inode = lock.stat().st_ino
    return any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())
