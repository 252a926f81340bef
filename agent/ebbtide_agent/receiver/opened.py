"""An opened machine: one restore point, mounted read only, served to its own host until the time is up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ebbtide_agent import instance, keys, moments, procs, volume
from ebbtide_agent.entry import Header
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.manifest_file import DAMAGE, read_manifest
from ebbtide_agent.orders import Order, stopped_by_signals
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import cgroups, sshd, station
from ebbtide_agent.receiver.lease import end_sessions
from ebbtide_agent.receiver.mail import Mail
from ebbtide_agent.receiver.opening import Opening, parse_opening
from ebbtide_agent.receiver.places import choose_walls, make_room
from ebbtide_agent.receiver.postman import send_now
from ebbtide_agent.receiver.station import Station, say
from ebbtide_agent.shapes import encode

# Who reads loses nothing: it asks again, and goes on where it was.
PATIENCE_SECONDS = 5.0


def serve(body: bytes, machine: Station) -> None:
    """Open up by this brief and close again when the time is up. Raises what keeps it from that."""
    stop = stopped_by_signals()
    opening = parse_opening(body)
    make_room(machine.paths)
    write_whole(machine.paths.brief, body)
    _have_the_point(opening, machine.paths, stop)
    say(choose_walls(machine.paths, machine.door.as_root))
    say(cgroups.divide())
    stop.check()
    with _listening(opening, machine) as listener:
        _tell(opening, machine)
        station.wait(machine, listener, stop, opening.until, lambda: None)


def header_of(opening: Opening, paths: MachinePaths) -> Header:
    """What the volume's own manifest says of the tree. Raises PermanentError when it is of another night."""
    # Whoever was killed right after the record has left it beside the one before.
    next_one = paths.next_manifest(opening.host.id)
    path = next_one if next_one.exists() else paths.manifest(opening.host.id)
    try:
        with path.open("rb") as file:
            header, _ = read_manifest(file)
    except DAMAGE as error:
        raise PermanentError(f"{path} does not say what the tree is: {error}") from error
    if (header.host, header.run) != (opening.host.id, opening.point.run):
        raise PermanentError(
            f"the volume holds {header.host} of {header.run}, not {opening.host.id} of {opening.point.run}"
        )
    return header


def reader_name(opening: Opening, process_id: int) -> str:
    """What a session's lease is called: nobody is in another reader's way, and all of them can be found and ended."""
    return f"{opening.host.id}-{process_id}"


def _readers(opening: Opening, paths: MachinePaths) -> list[str]:
    return [path.stem for path in paths.sessions.glob(f"{opening.host.id}-*.lock")]


def _have_the_point(opening: Opening, paths: MachinePaths, stop: Order) -> None:
    device = paths.device(opening.volume_id)
    volume.await_device(device, instance.PATIENCE_SECONDS, stop.pause)
    volume.mount(device, paths.volume, read_only=True)
    header_of(opening, paths)
    if not paths.tree(opening.host.id).is_dir():
        raise PermanentError(f"volume {opening.volume_id} has no tree of {opening.host.id}")


@contextmanager
def _listening(opening: Opening, machine: Station) -> Iterator[procs.Child]:
    """Sshd, until the end of the block; then nobody reads any more."""
    paths = machine.paths
    host_key = machine.cloud.get_parameter(opening.host_key_parameter)
    config = sshd.write_files(paths, (opening.host,), host_key, machine.door)
    listener = sshd.start(paths, config, machine.door)
    try:
        yield listener
    finally:
        paths.closing.touch()
        procs.end(listener)
        end_sessions(paths, _readers(opening, paths), PATIENCE_SECONDS)
        procs.end_group(listener)


def _tell(opening: Opening, machine: Station) -> None:
    body = {
        "recovery": opening.recovery,
        "opened": moments.write(machine.now()),
        "host_key": keys.public(machine.paths.run / "host_key"),
    }
    machine.cloud.put_once(f"recoveries/{opening.recovery}/opened.json", encode(body))
    mail = Mail(machine.paths.outbox)
    mail.leave("ebbtide.recovery", "Ebbtide Recovery Report", {"recovery": opening.recovery})
    send_now(mail, machine.cloud)
    say(f"{opening.point.name} of {opening.host.name} is open until {moments.write(opening.until)}")
