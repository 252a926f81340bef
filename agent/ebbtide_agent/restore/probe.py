"""Asking a booted image's service a question, from inside the image's own network namespace, or by its own programs."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from ebbtide_agent import procs
from ebbtide_agent.restore.compare import shown
from ebbtide_agent.restore.inits import last_words
from ebbtide_agent.restore.within import run_within

# What is slow may read a cold volume first, or replay what it had not written when it was backed up.
PATIENCE_SECONDS = 300.0
COMMAND_SECONDS = 30.0
_TIMEOUT_SECONDS = 5.0
_COMMAND = "command:"
_REDIRECTING = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_BODY_SECONDS = 15.0
_UNANSWERED = (OSError, http.client.HTTPException, ValueError)
_A_CHUNK, _ENOUGH_BYTES = 1 << 14, 1 << 26


@dataclass(frozen=True)
class Answer:
    """What a service said. HTTP is well below 400, wherever it leads; for TCP a connection is enough, for a
    command exit code 0."""

    target: str
    answer: str
    ok: bool


def probe(
    target: str, leader: int, patience: float = PATIENCE_SECONDS, command_seconds: float = COMMAND_SECONDS
) -> Answer:
    """Ask `target` until it is well or `patience` seconds are over; the last answer.

    It is an http, https or tcp URL, or `command:` and a command, which may take so long each time.
    """
    deadline = time.monotonic() + patience
    while True:
        by_command = target.startswith(_COMMAND)
        answer = _run_inside(target, leader, command_seconds) if by_command else _ask_inside(target, leader)
        if answer.ok or time.monotonic() >= deadline:
            return answer
        time.sleep(0.5)


def ask(target: str) -> Answer:
    """Ask once, from where this process is."""
    try:
        url = urlsplit(target)
        if url.scheme == "tcp":
            return _ask_tcp(target, url.hostname or "", url.port or 0)
        if url.scheme in ("http", "https"):
            return _ask_http(target)
    except _UNANSWERED as fault:
        return _no_answer(target, fault)
    return Answer(target, "cannot be asked: expected an http, https or tcp address", ok=False)


def _no_answer(target: str, fault: Exception) -> Answer:
    return Answer(target, f"no answer: {shown(str(fault).encode())}", ok=False)


def _ask_http(target: str) -> Answer:
    """Whatever it leads to is asked of the same address, by its name: so what answers is this machine.

    No certificate is checked, for the question is whether it answers.
    """
    found = _follow(target, urlsplit(target).hostname or "")
    at = "" if found.target == target else f" at {shown(found.target.encode())}"
    return replace(found, target=target, answer=f"{found.answer}{at}")


def _follow(target: str, address: str, before: tuple[str, ...] = ()) -> Answer:
    """What is there at last, as far as it leads within reason."""
    answer, leads_to = _answer_at(target, address)
    if leads_to is None:
        return answer
    said = f"{answer.answer}: redirects to {shown(leads_to.encode())}"
    if leads_to in (*before, target):
        return Answer(target, f"{said} again", ok=False)
    if urlsplit(leads_to).scheme not in _PORTS:
        return Answer(target, f"{said}, which is neither http nor https", ok=False)
    if len(before) == _MOST_REDIRECTS:
        return Answer(target, f"{said}, after {_MOST_REDIRECTS} others", ok=False)
    return _follow(leads_to, address, (*before, target))


def _answer_at(target: str, address: str) -> tuple[Answer, str | None]:
    """And where that leads, if it does."""
    try:
        status, reason, location = _got(target, address)
        leads_to = urljoin(target, location or "") if status in _REDIRECTING else None
    except _UNANSWERED as fault:
        return _no_answer(target, fault), None
    return Answer(target, shown(f"{status} {reason}".encode()), ok=200 <= status < 400), leads_to


def _got(target: str, address: str) -> tuple[int, str, str | None]:
    """The status of what is there, its reason, and where that leads. Its body is read: it may be what does not work."""
    url = urlsplit(target)
    name, port = url.hostname or "", url.port or _PORTS[url.scheme]
    with socket.create_connection((address, port), timeout=_TIMEOUT_SECONDS) as plain:
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            trusting = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(name, port, context=trusting)
            connection.sock = trusting.wrap_socket(plain, server_hostname=name)
        else:
            connection = http.client.HTTPConnection(name, port)
            connection.sock = plain
        try:
            connection.request("GET", (url.path or "/") + (f"?{url.query}" if url.query else ""))
            response = connection.getresponse()
            _read_to_its_end(response)
            return response.status, response.reason, response.getheader("Location")
        finally:
            connection.close()


def _read_to_its_end(response: http.client.HTTPResponse) -> None:
    """Or as far as anybody wants to. Raises HTTPException for a body that ends too early, or not at all."""
    read, until = 0, time.monotonic() + _BODY_SECONDS
    while chunk := response.read(_A_CHUNK):
        read += len(chunk)
        if read >= _ENOUGH_BYTES:
            return
        if time.monotonic() >= until:
            raise http.client.HTTPException(f"its body has no end within {_BODY_SECONDS:g} s")
    if response.length:
        raise http.client.HTTPException(f"its body ends {response.length} bytes too early")


def _ask_tcp(target: str, host: str, port: int) -> Answer:
    with socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS) as connection:
        connection.settimeout(1.0)
        try:
            greeting = connection.recv(200)
        except socket.timeout:
            greeting = b""
    return Answer(target, shown(b"connected " + greeting.strip()).strip(), ok=True)


def _ask_inside(target: str, leader: int) -> Answer:
    """This very module, run in the image's network namespace; the image's own programs are not trusted with it."""
    package = Path(__file__).parents[2]  # a directory, or the one file that the agent comes in
    asked = procs.run(
        ["nsenter", "--target", str(leader), "--net", "--", "env", f"PYTHONPATH={package}",
         sys.executable, "-m", "ebbtide_agent.restore.probe", target],
        timeout=30,
    )  # fmt: skip
    if asked.exit_code != 0:
        return Answer(target, f"cannot ask: {shown(asked.why.encode())}", ok=False)
    return Answer(**json.loads(asked.out))


def _run_inside(target: str, leader: int, limit: float) -> Answer:
    """Its words are split as a shell would, which is all that a shell has to do with it."""
    try:
        words = shlex.split(target.partition(_COMMAND)[2])
    except ValueError as fault:
        return Answer(target, f"cannot be run: {fault}", ok=False)
    ended = run_within(leader, words, limit)
    how = f"not over after {limit:g} s" if ended.timed_out else f"exit code {ended.exit_code}"
    return Answer(target, f"{how}: {last_words(ended.err or ended.out)}", ok=ended.exit_code == 0)


if __name__ == "__main__":
    print(json.dumps(asdict(ask(sys.argv[1]))))
