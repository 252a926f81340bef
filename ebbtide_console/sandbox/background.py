"""A sandbox in the background: started, found again, stopped."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from chalicelib.errors import PermanentError, Refused
from ebbtide_console import procs
from ebbtide_console.sandbox.claim import is_claimed

PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


def serving(place: Path, endpoint: str) -> Path:
    """Say where the sandbox on `place` answers; the file, to be removed when it no longer does."""
    address = place / "endpoint"
    address.write_text(endpoint)
    return address


def up(state: Path, place: Path, port: int) -> str:
    """Start a sandbox, unless the one on `place` is up already; its endpoint. Port 0 takes a free one.

    Raises Refused while a night is running there, PermanentError when it does not start.
    """
    if is_claimed(place):
        return _endpoint_of_the_one_that_is_up(place, port)
    address, log = place / "endpoint", place / "sandbox.log"
    address.unlink(missing_ok=True)
    serve = (sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(state), "serve", "--port", str(port))
    with log.open("wb") as output:
        process = procs.start(serve, stdout=output, stderr=procs.STDOUT)
    (place / "pid").write_text(str(process.pid))
    limit = time.monotonic() + PATIENCE_SECONDS
    while not address.exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise PermanentError(f"the sandbox did not start: {_last_line(log)}; all of it is in {log}")
        time.sleep(_PAUSE_SECONDS)
    return address.read_text()


def down(place: Path) -> None:
    """Stop the sandbox that up() started. Raises Refused when none is up, PermanentError when it does not end."""
    pid = place / "pid"
    if not pid.exists() or not is_claimed(place):
        raise Refused("no sandbox is up: `ebbtide sandbox up` starts one")
    with suppress(ProcessLookupError):
        os.kill(_first_inside(int(pid.read_text())), signal.SIGTERM)
    limit = time.monotonic() + PATIENCE_SECONDS
    while is_claimed(place):
        if time.monotonic() > limit:
            raise PermanentError(f"the sandbox on {place} does not end: process {pid.read_text()} still holds it")
        time.sleep(_PAUSE_SECONDS)
    pid.unlink()


def _endpoint_of_the_one_that_is_up(place: Path, port: int) -> str:
    address = place / "endpoint"
    if not address.exists():
        raise Refused(f"a night is running on {place}: let it end first, or name another place with --state")
    endpoint = address.read_text()
    if port and not endpoint.endswith(f":{port}"):
        raise Refused(f"a sandbox is up on {endpoint}: stop it first with `ebbtide sandbox down`")
    return endpoint


def _first_inside(top: int) -> int:
    """An enclosure's outermost process passes no signal on; its only child does. Without enclosure it is itself."""
    with suppress(OSError):
        children = Path(f"/proc/{top}/task/{top}/children").read_text().split()
        if Path(f"/proc/{top}/comm").read_text().strip() == "unshare" and children:
            return int(children[0])
    return top


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
