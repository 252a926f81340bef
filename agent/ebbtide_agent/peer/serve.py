"""The peer's main process: its store, places, walls and sshd, and after each complete report a snapshot."""

from __future__ import annotations

import time
from pathlib import Path

from ebbtide_agent import moments, procs
from ebbtide_agent.compiled import compiled
from ebbtide_agent.errors import AgentError, PermanentError, TransientError
from ebbtide_agent.orders import Order, stopped_by_signals
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import Peer
from ebbtide_agent.peer.opened import shut_again
from ebbtide_agent.peer.sessions import PATIENCE_SECONDS, end_readers, forget_readers, serving_alone
from ebbtide_agent.receiver import cgroups, sshd
from ebbtide_agent.receiver.lease import end_sessions
from ebbtide_agent.receiver.lost import note_not_kept
from ebbtide_agent.receiver.places import choose_walls, make_places, make_room
from ebbtide_agent.receiver.sshd import Door
from ebbtide_agent.receiver.station import say

LOOK_SECONDS = 1.0
# What could not be made is tried again, and a word that got lost costs no more than this.
LOOK_AGAIN_SECONDS = 300.0


def serve(peer: Peer, door: Door, program: Path) -> int:
    """Until it is told to stop; the gate is `program` as it is now.

    Raises Refused when the store is not there, or somebody serves already.
    """
    stop = stopped_by_signals()
    peer.check_store()
    paths = peer.paths
    paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with serving_alone(paths):
        hosts = [guest.as_briefed() for guest in peer.register.guests]
        # It was there before us, and what is not on its disk is noted only as long as somebody serves.
        note_not_kept(paths, [host.id for host in hosts], moments.up().start)
        make_room(paths)
        for host_id, why in make_places(paths, hosts, door.as_root).items():
            say(f"{host_id} has no place in the store, and is turned away: {why}")
        compiled(program, paths.program)
        say(choose_walls(paths, door.as_root))
        say(cgroups.divide())
        config = sshd.write_files(paths, hosts, peer.places.peer_key.read_text(), door)
        sshd.log_of(paths).unlink(missing_ok=True)
        listener = sshd.start(paths, config, door)
        say(f"ready on port {door.port}")
        try:
            _wait(peer, listener, stop)
        finally:
            procs.end(listener)
            end_sessions(paths, [guest.id for guest in peer.register.guests], PATIENCE_SECONDS)
            for guest in peer.register.guests:
                end_readers(paths, guest)
            procs.end_group(listener)
    return 0


def _wait(peer: Peer, listener: procs.Child, stop: Order) -> None:
    """Make snapshots whenever there is word of a report, and look now and then without."""
    heard, look_again = -1, 0.0
    while not stop.wait(LOOK_SECONDS):
        if listener.poll() is not None:
            raise PermanentError(f"sshd ended with exit code {listener.returncode}: see {sshd.log_of(peer.paths)}")
        word = _word(peer.paths)
        if word != heard or time.monotonic() >= look_again:
            look_again = time.monotonic() + LOOK_AGAIN_SECONDS
            heard = word if _keep_all(peer, stop) else -1
            sshd.shorten_log(peer.paths)
    say("told to stop")


def _keep_all(peer: Peer, stop: Order) -> bool:
    """False when somebody was busy, and one should look again at once."""
    nobody_is_busy = True
    forget_readers(peer.paths)
    for guest in peer.register.guests:
        try:
            shut_again(peer, guest)
            Keeper(peer, guest, say, stop.is_given).keep()
        except TransientError:
            nobody_is_busy = False
        except (OSError, AgentError) as error:
            # One guest's place must not be in the way of another's.
            say(f"{guest.name}: {error}")
    return nobody_is_busy


def _word(paths: PeerPaths) -> int:
    try:
        return paths.told.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
