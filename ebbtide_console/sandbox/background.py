"""A sandbox in the background: started, found again, stopped. It is known by the directory that it holds."""

import signal
import sys
import threading
import time
from pathlib import Path

from chalicelib.errors import PermanentError, Refused
from ebbtide_console import procs
from ebbtide_console.sandbox.claim import ENDPOINT, STOP, is_claimed

PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


def serve(place: Path, endpoint: str) -> None:
    """Say where the sandbox that holds `place` answers, and return once it is told to stop."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    making = place / f".{ENDPOINT}"
    making.write_text(endpoint)
    making.rename(place / ENDPOINT)
    while not (told.wait(_PAUSE_SECONDS) or (place / STOP).exists()):
        pass
    (place / ENDPOINT).unlink()


def up(state: Path, place: Path, port: int) -> str:
    """Start a sandbox, unless one is up on `place` already; its endpoint. Port 0 takes a free one.

    Raises Refused while a night is running there, PermanentError when it does not start.
    """
    if is_claimed(place):
        return _endpoint_of_the_one_that_is_up(place, port)
    (place / ENDPOINT).unlink(missing_ok=True)
    log = place / "sandbox.log"
    command = (sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(state), "serve", "--port", str(port))
    with log.open("wb") as output:
        process = procs.start(command, stdout=output, stderr=procs.STDOUT)
    limit = time.monotonic() + PATIENCE_SECONDS
    while not (place / ENDPOINT).exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise PermanentError(f"the sandbox did not start: {procs.last_line(log)}; all of it is in {log}")
        time.sleep(_PAUSE_SECONDS)
    return (place / ENDPOINT).read_text()


def down(place: Path) -> None:
    """Stop the sandbox that is up on `place`. Raises Refused when none is, PermanentError when it does not end."""
    if not is_claimed(place):
        raise Refused("no sandbox is up: `ebbtide sandbox up` starts one")
    if not (place / ENDPOINT).exists():
        raise Refused(f"a night is running on {place}: it ends by itself, or with Ctrl-C where it was started")
    (place / STOP).touch()
    limit = time.monotonic() + PATIENCE_SECONDS
    while is_claimed(place):
        if time.monotonic() > limit:
            raise PermanentError(f"the sandbox on {place} does not end; its log is {place / 'sandbox.log'}")
        time.sleep(_PAUSE_SECONDS)


def _endpoint_of_the_one_that_is_up(place: Path, port: int) -> str:
    if not (place / ENDPOINT).exists():
        raise Refused(f"a night is running on {place}: let it end first, or name another place with --state")
    endpoint = (place / ENDPOINT).read_text()
    if port and not endpoint.endswith(f":{port}"):
        raise Refused(f"a sandbox is up on {endpoint}: stop it first with `ebbtide sandbox down`")
    return endpoint
