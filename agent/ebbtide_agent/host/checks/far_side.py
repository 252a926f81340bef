"""The target: a directory that is the right one, or a name with an address where the pinned host key answers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from ebbtide_agent import procs
from ebbtide_agent.errors import AgentError, Refused, TransientError
from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok, warning
from ebbtide_agent.host.checks.places import free_bytes
from ebbtide_agent.host.claim import check_place
from ebbtide_agent.host.history import find_last
from ebbtide_agent.host.link import look_up
from ebbtide_agent.host.lock import try_lock
from ebbtide_agent.host.login import login_of
from ebbtide_agent.host.ssh_files import keys_in, pinned_keys
from ebbtide_agent.host.standing import holder_of
from ebbtide_agent.host.target import Directory, Receiver, Volume
from ebbtide_agent.paths import DirectoryPaths, device_name
from ebbtide_agent.printable import size

PATIENCE_SECONDS = 5
_LITTLE_ROOM = 1 << 30


def answers_as_it_should(scene: Scene) -> Iterator[Finding]:
    """A receiver that is not up now is as it should be: it is up for its window only. Nobody says hello to it here."""
    config = scene.config
    target = config.target
    if isinstance(target, Directory):
        yield from _directory(scene, target)
        return
    if isinstance(target, Volume):
        yield _volume(scene, target)
        return
    try:
        address = look_up(login_of(config, target))
    except TransientError as error:
        yield _not_up(scene, str(error))
        return
    offered, pinned = _offered(address, target.port), pinned_keys(config.known_hosts, target.name)
    if not offered:
        yield _not_up(scene, f"{target.name} ({address}) does not answer on port {target.port}")
    elif not pinned:
        # That is a fault of its own unless somebody signs it; and nobody can tell who it is.
        yield ok(f"{target.name} ({address}) answers on port {target.port}")
    elif offered & pinned:
        yield ok(f"{target.name} ({address}) answers with the host key that is pinned")
    else:
        yield _another(scene, f"{target.name} ({address}) answers with another host key than is pinned")


def _directory(scene: Scene, target: Directory) -> Iterator[Finding]:
    store = DirectoryPaths(target.path)
    try:
        check_place(store, scene.paths, scene.config.host)
    except AgentError as error:
        yield fault(str(error), "nothing is written there until then")
        return
    # Of root this is true of a file system that is mounted read-only, and of nothing else.
    if not os.access(target.path, os.W_OK | os.X_OK, effective_ids=True):
        yield fault(f"TARGET {target} cannot be written", "run as root, and see that it is not mounted read-only")
        return
    # A night that is under way has it; and one that begins now has more to do before it asks for it.
    if holder_of(scene.paths.lock) is None:
        try:
            try_lock(store.lock)
        except Refused as error:
            yield warning(str(error), "nothing, if it is over before tonight")
    place = target.path.stat()
    if place.st_dev == scene.config.root.stat().st_dev:
        what = f"TARGET {target} is on the file system that is backed up"
        yield warning(what, "what takes the one takes the other: give it a disk of its own")
    free = free_bytes(target.path)
    if free < _LITTLE_ROOM:
        yield warning(f"TARGET {target} has only {size(free)} free", "make room there, or lower KEEP")
    else:
        yield ok(f"TARGET {target} is the right directory, {size(free)} are free")


def _volume(scene: Scene, target: Volume) -> Finding:
    device = scene.paths.disks / device_name(target.volume_id)
    if not device.exists():
        return fault(f"{target.volume_id} is not attached: {device} is not there", "attach it to this instance")
    if importlib.util.find_spec("boto3") is None:
        return fault(f"TARGET {target} needs boto3 to report", "install python3-boto3")
    return ok(f"{target.volume_id} is attached")


def _offered(address: str, port: int) -> frozenset[tuple[str, str]]:
    scan = ("ssh-keyscan", "-T", str(PATIENCE_SECONDS), "-p", str(port), address)
    return keys_in(procs.run(scan, timeout=4 * PATIENCE_SECONDS).out)


def _not_up(scene: Scene, what: str) -> Finding:
    if not isinstance(scene.config.target, Receiver):
        return fault(what, "see that the machine is up, and that this host may reach it")
    last = find_last(scene.paths)
    if last is None:
        to_do = (
            "if that is so in its window too: compare TARGET with the policy's name, and this address with its allow"
        )
        return warning(f"{what}, and never has", to_do)
    return ok(f"{what}: it is up for its window only, the last time for the run {last.run}")


def _another(scene: Scene, what: str) -> Finding:
    known = scene.config.known_hosts
    if isinstance(scene.config.target, Receiver):
        # Outside its window the name may still point at an address that is somebody else's by now.
        return warning(what, f"nothing is sent to it; if that is so in its window too, correct {known}")
    return fault(what, f"nothing is sent to it; ask its operator for the host key, and correct {known}")
