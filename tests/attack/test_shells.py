"""A stolen key and ssh: a shell, a tunnel, another user, another environment."""

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.receiver import verbs
from tests.attack.marks import tried
from tests.attack.scene import ATTACKER, Scene
from tests.local.ports import a_free_port
from tests.local.receiver_machine import MAY_MOUNT, MISSING, wait_until
from tests.patience import HAS_PATIENCE

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() == 0 and not MAY_MOUNT, reason="a receiver's walls need mount namespaces"),
]

WHAT_A_KEY_MAY = "this key may say hello, list and report, and push or fetch with rsync"
COMMANDS = [
    tried("a shell", [""], row="X2", outcome="refused"),
    tried("a command", ["sh -c id"], row="X2", outcome="refused"),
    tried("a command behind a verb", ["hello; id", "hello && id", "hello | id"], row="X2", outcome="refused"),
    tried("a command on a line of its own", ["hello\nid", "hello\rid"], row="X2", outcome="refused"),
    tried("a command within a verb", ["$(id)", "`id`", "hello $(id)", "hello>x"], row="X2", outcome="refused"),
    tried("a verb in quotes", ["'hello'", '"hello"', "hel\\lo"], row="X2", outcome="refused"),
    tried("a verb with spaces", ["hello ", " hello", "hello\t", "hello\u00a0"], row="X2", outcome="refused"),
    tried("what only looks like a verb", ["h\u0435llo", "\uff48\uff45llo", "hello\u200b"], row="X2", outcome="refused"),
    tried("a verb with an option", ["hello --help", "hello -v"], row="X2", outcome="refused"),
    tried("a verb for another host", ["hello eu0a", "report eu0a"], row="X2", outcome="refused"),
    tried("a command in a machine's name", ["rsync --machine=$(id) --server --daemon .",
        "rsync --machine=3f2a91c07d52e1aa;id --server --daemon ."], row="X2", outcome="refused"),
    tried("a verb with an environment", ["PATH=/tmp hello"], row="X2", outcome="refused"),
    tried("a hundred thousand characters", ["hello" + "o" * 100_000], row="X2", outcome="refused"),
    tried("rsync without a daemon", ["rsync --server -logDtpre.iLsfxCIvu . /etc"], row="X2", outcome="refused"),
    tried("rsync that sends", ["rsync --server --sender -logDtpre.iLsfxCIvu . /"], row="X2", outcome="refused"),
    tried("a daemon of its own", ["rsync --server --daemon --config=/tmp/x ."], row="X2", outcome="refused"),
    tried("a daemon and a path", ["rsync --server --daemon . /etc"], row="X2", outcome="refused"),
    tried("scp", ["scp -t /tmp", "scp -f /etc/passwd"], row="X2", outcome="refused"),
    tried("sftp as a command", ["internal-sftp", "/usr/lib/openssh/sftp-server"], row="X2", outcome="refused"),
]  # fmt: skip


@pytest.mark.fault("X2")
@pytest.mark.parametrize("commands", COMMANDS)
def test_a_key_opens_the_gate_and_nothing_else(scene: Scene, commands: list[str]) -> None:
    tried_in_earnest = commands if HAS_PATIENCE else commands[:1]

    ended = [scene.ask(*filter(None, [command])) for command in tried_in_earnest]

    assert [(end.returncode, end.stdout) for end in ended] == [(Refused.exit_code, b"")] * len(ended)
    assert all(WHAT_A_KEY_MAY.encode() in end.stderr for end in ended)
    for command in commands:
        with pytest.raises(Refused, match=WHAT_A_KEY_MAY):
            verbs.parse_command(command)


@pytest.mark.attack("sftp, and any other subsystem", row="X2", outcome="refused")
@pytest.mark.fault("X2")
@pytest.mark.parametrize("name", ["sftp", "netconf"])
def test_there_is_no_subsystem(scene: Scene, name: str) -> None:
    ended = scene.ask(name, options=("-s",))

    assert ended.returncode != 0
    assert ended.stdout == b""


@pytest.mark.attack("bring an environment along", row="X2", outcome="none of it arrives")
@pytest.mark.fault("X2")
def test_nothing_of_a_hosts_environment_arrives(scene: Scene) -> None:
    brought = "PYTHONHOME=/x LD_PRELOAD=/x BASH_ENV=/x LC_ALL=x EBBTIDE_ROOT=/x SSH_ORIGINAL_COMMAND=report"

    ended = scene.connect("-o", f"SetEnv={brought}", words=("hello",))

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b'"id": "us0a"' in ended.stdout


FORWARDINGS = [
    tried("forward a port (-W) to the receiver's sshd", "127.0.0.1:{port}", row="X2", outcome="refused"),
    tried("forward a port (-W) to the metadata service", "169.254.169.254:80", row="X2", outcome="refused"),
]


@pytest.mark.fault("X2")
@pytest.mark.parametrize("address", FORWARDINGS)
def test_a_key_forwards_no_port(scene: Scene, address: str) -> None:
    ended = scene.connect("-W", address.format(port=scene.receiver.port))

    assert ended.returncode != 0
    assert ended.stdout == b""
    assert b"administratively prohibited" in ended.stderr


@pytest.mark.attack("forward ports from home (-L, -D)", row="X2", outcome="refused")
@pytest.mark.attack("hold a connection and ask for nothing (-N)", row="X2", outcome="holds nobody up")
@pytest.mark.fault("X2")
def test_what_is_forwarded_from_home_leads_nowhere_and_a_connection_that_asks_for_nothing_is_in_nobodys_way(
    scene: Scene,
) -> None:
    ports = a_free_port(), a_free_port()
    forwards = ("-L", f"{ports[0]}:127.0.0.1:{scene.receiver.port}", "-D", str(ports[1]))
    argv = [*scene.receiver.ssh_argv(ATTACKER, "-N", *forwards), "127.0.0.1"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as idle:
        try:
            wait_until(lambda: all(map(is_open, ports)), "the forwarded ports")
            by_l = said_through(ports[0], b"")
            by_d = said_through(ports[1], socks_to(scene.receiver.port))
            neighbour = scene.neighbour_pushes()
            still_there = idle.poll() is None
        finally:
            idle.terminate()

    assert b"SSH-2.0" not in by_l + by_d
    assert (neighbour.returncode, still_there) == (0, True), neighbour.stderr


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def said_through(port: int, words: bytes) -> bytes:
    """All that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as there:
        there.sendall(words)
        said = b""
        try:
            while piece := there.recv(1000):
                said += piece
                if b"SSH-2.0" in said:
                    break
        except ConnectionResetError:
            return said
    return said


def socks_to(port: int) -> bytes:
    """SOCKS 4: connect to that port here."""
    return b"\x04\x01" + port.to_bytes(2, "big") + bytes((127, 0, 0, 1)) + b"\0"


@pytest.mark.attack("have a port forwarded from there (-R)", row="X2", outcome="refused")
@pytest.mark.fault("X2")
def test_nothing_listens_there_for_a_host(scene: Scene) -> None:
    ended = scene.connect("-N", "-o", "ExitOnForwardFailure=yes", "-R", f"0:127.0.0.1:{scene.receiver.port}")

    assert ended.returncode == 255
    assert b"remote port forwarding failed" in ended.stderr


@pytest.mark.attack("a terminal (-tt)", row="X2", outcome="refused")
@pytest.mark.attack("X11 (-X)", row="X2", outcome="refused")
@pytest.mark.fault("X2")
def test_there_is_neither_a_terminal_nor_a_display(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "127.0.0.1:99")

    ended = scene.connect("-tt", "-X", "-o", "XAuthLocation=/nowhere", words=("hello",))

    assert ended.returncode == 255
    assert b"PTY allocation request failed" in ended.stderr
    assert b"X11 forwarding request failed" in ended.stderr


LOGINS = [
    tried("log in as another user", "daemon", (), row="X2", outcome="refused"),
    tried("log in without the key", None, ("-o", "PubkeyAuthentication=no"), row="X2", outcome="refused"),
]


@pytest.mark.fault("X2")
@pytest.mark.parametrize(("user", "options"), LOGINS)
def test_nobody_else_may_come_in(scene: Scene, user: str | None, options: Sequence[str]) -> None:
    known = scene.receiver

    ended = replace(known, user=user or known.user).ssh(ATTACKER, "hello", options=options)

    assert (ended.returncode, ended.stdout) == (255, b"")


@pytest.mark.attack("write into the log by a user's name", row="X4", outcome="escaped")
@pytest.mark.fault("X4")
def test_a_users_name_is_in_the_log_but_not_to_the_letter(scene: Scene, tmp_path: Path) -> None:
    known, log = scene.receiver, scene.receiver.root / "run/ebbtide/sshd.log"
    # On its command line ssh takes no such name.
    (tmp_path / "config").write_text("User us0\x1b[2Jx\n")
    argv = known.ssh_argv(ATTACKER)
    at = argv.index("-l")
    del argv[at : at + 2]
    argv[argv.index("none")] = str(tmp_path / "config")

    ended = subprocess.run([*argv, "127.0.0.1", "hello"], capture_output=True, timeout=120)

    assert (ended.returncode, ended.stdout) == (255, b"")
    wait_until(lambda: b"us0\\033[2Jx" in log.read_bytes(), "the name in the log")
    assert b"\x1b" not in log.read_bytes()


@pytest.mark.attack("hold its own session for ever, saying nothing", row="X4", outcome="holds nobody else up")
@pytest.mark.attack("have the receiver end when memory is short", row="X4", outcome="a session goes first")
@pytest.mark.fault("X4")
@pytest.mark.parametrize("verb", ["rsync --server --daemon .", "report"])
def test_who_holds_its_session_and_says_nothing_holds_up_itself_alone(scene: Scene, verb: str) -> None:
    argv = [*scene.receiver.ssh_argv(ATTACKER), "127.0.0.1", verb]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as silent:
        lease = scene.receiver.root / "run/ebbtide/sessions/us0a.lock"
        try:
            gate = wait_until(lambda: lease.exists() and lease.read_text(), "the silent session")
            goes_first = Path(f"/proc/{gate}/oom_score_adj").read_text()

            neighbour = scene.neighbour_pushes()
            again = scene.ask(verb, feed=b"{}")
        finally:
            silent.terminate()
    wait_until(lambda: lease.read_text() == "", "the end of it")

    if os.geteuid() == 0:
        assert goes_first == "1000\n"
    assert neighbour.returncode == 0, neighbour.stderr
    assert again.returncode == 75
    assert b"another session of host us0a is under way" in again.stderr
