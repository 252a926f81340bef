"""Asking a booted image's service a question, from inside the image's own network namespace, or by its own programs."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ebbtide_agent import procs
from ebbtide_agent.restore.compare import shown
from ebbtide_agent.restore.inits import last_words
from ebbtide_agent.restore.within import run_within

# What is slow may read a cold volume first, or replay what it had not written when it was backed up.
PATIENCE_SECONDS = 300.0
COMMAND_SECONDS = 30.0
_TIMEOUT_SECONDS = 5.0
_COMMAND = "command:"


@dataclass(frozen=True)
class Answer:
    """What a service said. HTTP is well below 400; for TCP a connection is enough, for a command exit code 0."""

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
    except (OSError, http.client.HTTPException, ValueError) as fault:
        return Answer(target, f"no answer: {shown(str(fault).encode())}", ok=False)
    return Answer(target, "cannot be asked: expected an http, https or tcp address", ok=False)


def _ask_http(target: str) -> Answer:
    """No redirect is followed and no certificate checked: the question is whether this machine answers."""
    url = urlsplit(target)
    host = url.hostname or ""
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        trusting = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, url.port, timeout=_TIMEOUT_SECONDS, context=trusting)
    else:
        connection = http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", (url.path or "/") + (f"?{url.query}" if url.query else ""))
        response = connection.getresponse()
        said = f"{response.status} {response.reason}"
        return Answer(target, shown(said.encode()), ok=200 <= response.status < 400)
    finally:
        connection.close()


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
