"""The receiver's own sshd: the host key that hosts have pinned, and keys that can start the gate and nothing else."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver.brief import Caller

_KNOWS_ADDRESSES = (8, 5)
# A connection that asks for nothing costs a process of some megabytes, and whoever has a key may hold hundreds. A host
# lets go of its own after two minutes, and sooner than this: nobody's next question meets a connection just closed.
UNUSED_SECONDS = 180
_KNOWS_UNUSED = (9, 2)
# From here on sshd turns an address away for a while after one unknown key, and so every host behind it.
_PUNISHES_ADDRESSES = (9, 8)
LARGEST_LOG = 4 << 20
LISTENING_SECONDS = 30.0
_PAUSE_SECONDS = 0.05
# Compiled into sshd; it insists on it when it starts as root.
_PRIVILEGE_SEPARATION = Path("/run/sshd")
# Left alone by whoever started it, killed at once for instance, it would hold the port and take what nobody keeps.
_WITH_ITS_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")
# When memory is short a session goes first, and not who started sshd and lets go of the volume. An sshd of root's sees
# to it that it is spared itself, and gives each connection back what it had at its start; another one cannot.
_SESSIONS_GO_FIRST = ("choom", "--adjust", "1000", "--")


@dataclass(frozen=True)
class Crowd:
    """How many may be there that have shown no key yet: `free` come in, beyond them chance decides, none beyond `most`.

    However many knock from one address, no more than `of_one` of them do: from another one everybody still comes in,
    chance or not. Many hosts may be behind one.
    """

    free: int
    most: int
    of_one: int


# A receiver lives for one night, in which all its hosts come at the same minute. A peer is somebody's server, of few
# hosts, and everybody's scanners find its port; each that knocks is a process of some megabytes.
CROWD, FEW = Crowd(200, 300, 100), Crowd(30, 100, 10)


@dataclass(frozen=True)
class Door:
    """What sshd is to be: its port, the command that runs the gate (a host's id follows), the gate's environment.

    `strict`: nobody else may be able to change what sshd reads. `may_unlock`: the machine is ours, its root as well.
    """

    port: int
    gate: Sequence[str]
    environment: Mapping[str, str]
    as_root: bool
    strict: bool
    may_unlock: bool
    knocking: Crowd


def write_files(paths: GatePaths, hosts: Sequence[Caller], host_key: str, door: Door) -> Path:
    """Write host key, authorized keys and configuration; returns the configuration."""
    login = pwd.getpwuid(os.geteuid()).pw_name
    write_whole(paths.run / "host_key", host_key.rstrip("\n").encode() + b"\n")
    write_whole(paths.run / "authorized_keys", authorized_keys(hosts, door.gate).encode())
    config = sshd_config(paths, login, door)
    if (version := _version()) >= _KNOWS_ADDRESSES:
        config += f"PerSourceMaxStartups {door.knocking.of_one}\n"
    if version >= _KNOWS_UNUSED:
        config += f"UnusedConnectionTimeout {UNUSED_SECONDS}\n"
    if version >= _PUNISHES_ADDRESSES:
        config += "PerSourcePenalties no\n"
    write_whole(paths.run / "sshd_config", config.encode())
    return paths.run / "sshd_config"


def authorized_keys(hosts: Sequence[Caller], gate: Sequence[str]) -> str:
    """Who is calling is decided by the key alone; whatever the caller asks for, the gate is what starts."""
    lines = []
    for host in hosts:
        command = " ".join(map(shlex.quote, (*gate, host.id))).replace('"', '\\"')
        lines += [f'restrict,command="{command}" {key}' for key in host.keys]
    return "".join(f"{line}\n" for line in lines)


def sshd_config(paths: GatePaths, login: str, door: Door) -> str:
    """No password, no shell, no forwarding."""
    run = paths.run
    settings = [
        f"Port {door.port}",
        f"HostKey {_quoted(run / 'host_key')}",
        f"AuthorizedKeysFile {_quoted(run / 'authorized_keys')}",
        "PidFile none",
        f"AllowUsers {login}",
        "AuthenticationMethods publickey",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        f"PermitRootLogin {'forced-commands-only' if door.as_root else 'no'}",
        "UsePAM no",
        # Below a root of one's own the way there may lead through /tmp, which belongs to everybody.
        f"StrictModes {'yes' if door.strict else 'no'}",
        "DisableForwarding yes",
        "PermitTTY no",
        "PermitUserRC no",
        "PermitUserEnvironment no",
        f"MaxStartups {door.knocking.free}:30:{door.knocking.most}",
        "MaxAuthTries 3",
        # A host asks one thing after the other through one connection; what has just ended may still count.
        "MaxSessions 2",
        "LoginGraceTime 60",
        "ClientAliveInterval 15",
        "ClientAliveCountMax 8",
        "PrintMotd no",
        "LogLevel VERBOSE",
    ]
    variables = " ".join(_quoted(f"{name}={value}") for name, value in sorted(door.environment.items()))
    return "\n".join((*settings, *([f"SetEnv {variables}"] if variables else []), ""))


def start(paths: GatePaths, config: Path, door: Door) -> procs.Child:
    """Start sshd in the foreground and return it listening; it ends with the thread that has started it.

    Raises PermanentError when its configuration, its keys, the port or the account will not do.
    """
    program = _program()
    if door.as_root:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        check_account(door.may_unlock)
    procs.check((program, "-t", "-f", str(config)))
    log = log_of(paths)
    ranked = _SESSIONS_GO_FIRST if door.as_root else ()
    child = procs.start_logged((*_WITH_ITS_PARENT, *ranked, program, "-D", "-e", "-f", str(config)), log)
    deadline = time.monotonic() + LISTENING_SECONDS
    while "Server listening" not in (said := log.read_text(errors="replace")):
        if child.poll() is not None or time.monotonic() >= deadline:
            procs.end_group(child)
            last = (said.splitlines() or ["it said nothing"])[-1]
            raise PermanentError(f"sshd does not listen on port {door.port}: {last}")
        time.sleep(_PAUSE_SECONDS)
    return child


def check_account(may_unlock: bool) -> None:
    """sshd turns a locked account away, keys or not; on a machine of ours root is unlocked, without a password."""
    locked = procs.check(("getent", "shadow", "root")).split(b":")[1].startswith(b"!")
    if not locked:
        return
    if not may_unlock:
        raise PermanentError(
            "root is locked on this machine (its password starts with !), and sshd would turn every host away;"
            " usermod --password '*' root unlocks it, without any password"
        )
    procs.check(("usermod", "--password", "*", "root"))


def log_of(paths: GatePaths) -> Path:
    return paths.run / "sshd.log"


def shorten_log(paths: GatePaths) -> None:
    """Whoever knocks all night long must not fill what the gate's notes are kept in; sshd goes on at the end."""
    log = log_of(paths)
    if log.stat().st_size > LARGEST_LOG:
        os.truncate(log, 0)


def _program() -> str:
    return shutil.which("sshd") or "/usr/sbin/sshd"


def _version() -> tuple[int, int]:
    """Of this machine's sshd. An old one takes the question for a mistake, and answers it all the same."""
    ended = procs.run((_program(), "-V"))
    match = re.search(rb"OpenSSH_([0-9]+)\.([0-9]+)", ended.out + ended.err)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
