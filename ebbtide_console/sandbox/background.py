"""A sandbox in the background: started, found again, entered, stopped. It is known by the directory that it holds."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import PermanentError, Refused
from ebbtide_console import procs
from ebbtide_console.sandbox import kernel
from ebbtide_console.sandbox.claim import ENDPOINT, STOP, is_claimed
from ebbtide_console.sandbox.geography import SECOND

PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.1
_WAY_IN = "network"


@dataclass(frozen=True)
class Access:
    """Where a sandbox's API answers, the operator and whoever is in its network, and which of its regions serves."""

    endpoint: str
    within: str
    region: str

    def variables(self, is_within: bool = False) -> dict[str, str]:
        """What AWS's clients have to be told."""
        return {
            "AWS_ENDPOINT_URL": self.within if is_within else self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
        }


def serve(place: Path, access: Access, network: int | None) -> None:
    """Say where the sandbox that holds `place` answers, let its operator into its network, and return once it is told
    to stop."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    with _a_way_in(place) as asked:
        making = place / f".{ENDPOINT}"
        making.write_text("\n".join(vars(access).values()))
        making.rename(place / ENDPOINT)
        while not (told or (place / STOP).exists()):
            if select.select([asked], [], [], _PAUSE_SECONDS)[0]:
                _let_in(asked, network)
        (place / ENDPOINT).unlink()


def up(state: Path, place: Path, port: int, region: str) -> Access:
    """Start a sandbox of this region, unless one is up on `place` already. Port 0 takes a free one.

    Raises Refused while a night is running there, PermanentError when it does not start.
    """
    if is_claimed(place):
        return _the_one_that_is_up(place, port, region)
    (place / ENDPOINT).unlink(missing_ok=True)
    log = place / "sandbox.log"
    serve = ("serve", "--port", str(port), *(("--second-region",) if region == SECOND else ()))
    command = (sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(state), *serve)
    with log.open("wb") as output:
        process = procs.start(command, stdout=output, stderr=procs.STDOUT)
    limit = time.monotonic() + PATIENCE_SECONDS
    while not (place / ENDPOINT).exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise PermanentError(f"the sandbox did not start: {procs.last_line(log)}; all of it is in {log}")
        time.sleep(_PAUSE_SECONDS)
    return _access(place)


def find(place: Path) -> Access:
    """The sandbox that is up on `place`. Raises Refused when none is."""
    if not is_claimed(place):
        raise Refused("no sandbox is up: `ebbtide sandbox up` starts one")
    if not (place / ENDPOINT).exists():
        raise Refused(f"a night is running on {place}: it ends by itself, or with Ctrl-C where it was started")
    return _access(place)


def enter(place: Path) -> None:
    """Move this process into the network of the sandbox that is up on `place`, where its machines are."""
    with _at(place) as where, socket.socket(socket.AF_UNIX) as door:
        door.connect(where)
        _, networks, _, _ = socket.recv_fds(door, 1, 1)
    for network in networks:
        kernel.enter_network(network)
        os.close(network)


def down(place: Path) -> None:
    """Stop the sandbox that is up on `place`. Raises Refused when none is, PermanentError when it does not end."""
    find(place)
    (place / STOP).touch()
    limit = time.monotonic() + PATIENCE_SECONDS
    while is_claimed(place):
        if time.monotonic() > limit:
            raise PermanentError(f"the sandbox on {place} does not end; its log is {place / 'sandbox.log'}")
        time.sleep(_PAUSE_SECONDS)


def _the_one_that_is_up(place: Path, port: int, region: str) -> Access:
    if not (place / ENDPOINT).exists():
        raise Refused(f"a night is running on {place}: let it end first, or name another place with --state")
    access = _access(place)
    if access.region != region or (port and not access.endpoint.endswith(f":{port}")):
        raise Refused(f"a sandbox is up on {access.endpoint}, {access.region}: stop it with `ebbtide sandbox down`")
    return access


def _access(place: Path) -> Access:
    return Access(*(place / ENDPOINT).read_text().splitlines())


@contextmanager
def _a_way_in(place: Path) -> Iterator[socket.socket]:
    """A socket in `place` that whoever owns it can connect to."""
    (place / _WAY_IN).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        with _at(place) as where:
            door.bind(where)
        (place / _WAY_IN).chmod(0o600)
        door.listen()
        yield door
    (place / _WAY_IN).unlink()


@contextmanager
def _at(place: Path) -> Iterator[str]:
    """The way in by a name that is short enough for a socket, however long that of the place is."""
    directory = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{_WAY_IN}"
    finally:
        os.close(directory)


def _let_in(door: socket.socket, network: int | None) -> None:
    """Whoever asks. They may be gone by now: they have been interrupted."""
    asking, _ = door.accept()
    with asking, suppress(ConnectionError):
        socket.send_fds(asking, [b"."], [] if network is None else [network])
