"""What only the full substrate can do: a network of its own, sshd on port 22, walls inside of a machine."""

import functools
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from enclosed import a_substrate, in_an_enclosure, wait_until

from chalicelib.errors import PermanentError
from ebbtide_console.sandbox.disks import Disks
from ebbtide_console.sandbox.geography import FIRST
from ebbtide_console.sandbox.namespaces import WITH_ITS_CALLER
from ebbtide_console.sandbox.network import Network
from ebbtide_console.sandbox.substrate import Substrate

a_full_substrate = functools.partial(a_substrate, "full")

SSHD = """
mkdir -p /run/own
printf '%s\\n' {host_key} >/run/own/host_key; printf '%s\\n' {public} >/run/own/authorized; chmod -R go= /run/own
printf '%s\\n' 'HostKey /run/own/host_key' 'AuthorizedKeysFile /run/own/authorized' 'UsePAM no' 'StrictModes no' \
    'PermitRootLogin prohibit-password' >/run/own/config
exec /usr/sbin/sshd -D -e -f /run/own/config
"""


def on(substrate: Substrate, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(substrate.host_command(host, argv), capture_output=True, text=True, stdin=subprocess.DEVNULL)


def started(substrate: Substrate, user_data: str, machine_id: str = "i-0a") -> str:
    """Start a machine and return its address."""
    address = substrate.assign_address()
    substrate.start_machine(machine_id, address, FIRST, user_data, lambda _: None)
    return address


def log_of(substrate: Substrate, machine_id: str = "i-0a") -> str:
    return substrate.machine_log(machine_id).read_text()


def a_key(place: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)], check=True)
    return place


@contextmanager
def a_name_server(substrate: Substrate, answer: str) -> Iterator[None]:
    """Answers every A question with one address until the context ends."""
    questions = substrate.listen_names()
    assert questions is not None

    def serve() -> None:
        while True:
            try:
                packet, asker = questions.recvfrom(512)
            except OSError:
                return
            question = DNSRecord.parse(packet)
            reply = question.reply()
            if question.q.qtype == QTYPE.A:
                reply.add_answer(RR(question.q.qname, QTYPE.A, rdata=A(answer), ttl=1))
            questions.sendto(reply.pack(), asker)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        questions.close()


@in_an_enclosure
def test_a_host_reaches_a_machines_sshd_by_name(tmp_path: Path) -> None:
    key, host_key = a_key(tmp_path / "key"), a_key(tmp_path / "host_key")
    user_data = SSHD.format(
        host_key=shlex.quote(host_key.read_text()), public=shlex.quote((tmp_path / "key.pub").read_text())
    )
    ssh = ("ssh", "-F", "none", "-i", str(key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
           "-o", "UserKnownHostsFile=/dev/null", "root@backup.example.org", "hostname; id -u")  # fmt: skip
    with a_full_substrate(tmp_path / "state") as substrate:
        address = started(substrate, user_data)
        with a_name_server(substrate, address):
            wait_until(lambda: "listening" in log_of(substrate), "sshd")

            answer = on(substrate, "us0", *ssh)

    assert answer.stdout.split() == [f"ip-{address.replace('.', '-')}", "0"], answer.stderr


@in_an_enclosure
def test_machines_and_hosts_reach_the_api_at_the_machine_endpoint(tmp_path: Path) -> None:
    ask = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(9).decode())"
    with a_full_substrate(tmp_path) as substrate:
        _, machines = substrate.listen()
        host, port = substrate.machine_endpoint.removeprefix("http://").split(":")

        def greet() -> None:
            for _ in range(2):
                connection, _ = machines.accept()
                with connection:
                    connection.sendall(b"greetings")

        threading.Thread(target=greet, daemon=True).start()
        started(substrate, f"python3 -c {shlex.quote(ask)} {host} {port}")
        wait_until(lambda: "greetings" in log_of(substrate))

        from_host = on(substrate, "us0", "/usr/bin/env", "python3", "-c", ask, host, port)

    assert from_host.stdout == "greetings\n", from_host.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="networks of one's own need root")
def test_whoever_knows_the_gateway_still_does_when_machines_have_come_and_gone() -> None:
    network = Network()
    comes = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo there; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert comes.stdout and comes.stdout.readline() == b"there\n"
        before = known_as(network)
        network.plug(comes.pid, network.assign_address())
        assert known_as(network) == before
    finally:
        comes.kill()
        comes.communicate()
        network.close()


def known_as(network: Network) -> str:
    """The hardware address of the gateway, which whoever asked for it keeps for half a minute."""
    within = ["nsenter", f"--net=/proc/self/fd/{network.namespace}", "ip", "-brief", "link", "show", "vpc"]
    told = subprocess.run(within, pass_fds=[network.namespace], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


@in_an_enclosure
def test_a_host_has_files_and_a_name_of_its_own(tmp_path: Path) -> None:
    for host in ("us0", "eu0"):
        etc = tmp_path / "hosts" / host / "etc"
        etc.mkdir(parents=True)
        (etc / "backup_config").write_text(f"HOST={host}\n")
    keep = "cat /etc/backup_config; hostname; hostname > /var/lib/ebbtide/name; cat /etc/resolv.conf"
    with a_full_substrate(tmp_path) as substrate:
        said = {host: on(substrate, host, "sh", "-c", keep).stdout for host in ("us0", "eu0")}

    assert said == {host: f"HOST={host}\n{host}\nnameserver 10.77.0.1\n" for host in ("us0", "eu0")}
    assert (tmp_path / "hosts/eu0/var/name").read_text() == "eu0\n"


@in_an_enclosure
def test_a_host_command_hands_on_its_exit_code_and_dies_with_its_caller(tmp_path: Path) -> None:
    with a_full_substrate(tmp_path) as substrate:
        left = on(substrate, "us0", "sh", "-c", "exit 23")
        running = subprocess.Popen(substrate.host_command("us0", ["sleep", "601.25"]))
        wait_until(lambda: "601.25" in on(substrate, "us0", "ps", "ax").stdout)

        running.kill()
        running.wait()
        wait_until(lambda: "601.25" not in on(substrate, "us0", "ps", "ax").stdout)

    assert left.returncode == 23


def test_a_host_command_whose_caller_ended_before_it_could_be_told_does_nothing(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    subprocess.run([*WITH_ITS_CALLER, "touch", begun], check=False)
    assert not begun.exists()


@in_an_enclosure
def test_a_machine_changes_only_itself(tmp_path: Path) -> None:
    elsewhere = tmp_path / "not-there"
    with a_full_substrate(tmp_path / "state") as substrate:
        started(
            substrate, f"mkdir -p {tmp_path}; echo x >{elsewhere}; echo x >/etc/ebbtide-was-here; cat /etc/e*-was-here"
        )
        wait_until(lambda: "x\n" in log_of(substrate))

    assert not elsewhere.exists()
    assert not Path("/etc/ebbtide-was-here").exists()


@in_an_enclosure
def test_two_sandboxes_may_have_a_machine_of_the_same_name(tmp_path: Path) -> None:
    with a_full_substrate(tmp_path / "one") as one, a_full_substrate(tmp_path / "other") as other:
        started(one, "echo I am one")
        started(other, "echo I am the other")

        wait_until(lambda: (log_of(one), log_of(other)) == ("I am one\n", "I am the other\n"))


@in_an_enclosure
def test_bubblewrap_confines_inside_a_machine(tmp_path: Path) -> None:
    confined = (
        "setpriv --reuid 1234567 --regid 1234567 --clear-groups --inh-caps=-all --no-new-privs"
        " bwrap --unshare-all --die-with-parent --new-session --clearenv --ro-bind / / --dev /dev"
        " --cap-add CAP_SYS_CHROOT sh -c 'echo confined as $(id -u)'"
    )
    with a_full_substrate(tmp_path) as substrate:
        started(substrate, confined)
        wait_until(lambda: log_of(substrate).strip())

        assert "confined as 1234567" in log_of(substrate)


@in_an_enclosure
def test_a_store_that_is_no_file_system_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store.img").write_bytes(b"not XFS" * 100_000)

    with pytest.raises(PermanentError, match=r"store .*store\.img cannot be mounted") as caught:
        Disks(tmp_path / "store.img", tmp_path / "mounted")

    assert len(str(caught.value).splitlines()) == 1


@in_an_enclosure
def test_a_disk_too_full_for_a_store_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)

    with pytest.raises(PermanentError, match="GiB left"):
        Disks(small / "store.img", tmp_path / "mounted")

    assert list(small.iterdir()) == []
