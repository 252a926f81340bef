"""A server that is back: its users log in from elsewhere with their own keys, its service answers, its past stays.

What was backed up is a Debian with an sshd, a web server and a user; it comes up on an instance by the agent that user
data starts there. Who logs in is in another network, across a bridge. It is compared while it stands: what it does to
its own tree as it starts, and what is done to it then, are nothing to that.
"""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from enclosed import in_an_enclosure, wait_until

from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
from ebbtide_agent.restore.boot_image import KEPT
from ebbtide_agent.restore.progress import OUR_MARK
from ebbtide_console.sandbox import kernel
from tests.debian import a_machine_image
from tests.local.processes import below
from tests.local.receiver_machine import BUCKET, REGION, VOLUME, Aws, a_key, an_aws
from tests.local.test_black_holes import HERE, THERE, another_network, ip

# As in the examples of a brief.
NONCE = "00112233445566778899aabbccddeeff"
RECOVERY = "us0a/2026-11-24/1"
BRIEF, REPORT = f"recoveries/{RECOVERY}/brief.json", f"recoveries/{RECOVERY}/{NONCE}/report.json"
STANDING, OFF = f"recoveries/{RECOVERY}/{NONCE}/standing.json", f"recoveries/{RECOVERY}/{NONCE}/off.json"
RUN = "main/2026-11-22/1"
MANIFEST = f"manifests/us0a/{RUN}.jsonl.gz"
METADATA = "169.254.169.254"
PATIENCE_SECONDS = 180

WEB = f"""\
[Service]
ExecStart={shutil.which("python3", path="/usr/bin")} -m http.server --directory /srv/www 80
[Install]
WantedBy=multi-user.target
"""
A_JOB = "[Service]\nType=oneshot\nExecStart=/bin/touch /srv/cron-has-run\n"
# It is done by the time the image says that it is up.
HARM = """\
[Service]
Type=oneshot
WorkingDirectory=/srv/www
ExecStart=/bin/sh -c 'echo other >page; rm gone; chmod 4777 mode; mv old new; ln index.html linked'
[Install]
WantedBy=multi-user.target
"""
A_TIMER = "[Timer]\nOnActiveSec=1day\nUnit=web.service\n[Install]\nWantedBy=timers.target\n"
FSTAB = "10.0.0.9:/export /srv/export nfs defaults 0 0\nwork /srv/work tmpfs defaults 0 0\n"
# What `nft flush ruleset` says to the kernel: of this subsystem, delete all tables.
TAKE_THE_FILTER_OUT = """
import socket, struct, sys
def said(kind, flags, about):
    return struct.pack('=IHHIIBBH', 20, kind, flags, 0, 0, 0, 0, socket.htons(about))
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
kernel.send(said(16, 1, 10) + said(10 << 8 | 2, 5, 0) + said(17, 1, 10))
sys.exit(struct.unpack('=i', kernel.recv(4096)[16:20])[0] != 0)
"""
# A socket that is bound to an interface takes what is there for its neighbour, whatever the routes say; any user may.
ASK_A_NEIGHBOUR = f"""
import socket
asking = socket.socket()
asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'wire')
asking.settimeout(5)
asking.connect(('{METADATA}', 80))
"""
# With that mark on it a packet passes for the agent's; a program in the kernel could mark those of any socket.
MARK_A_PACKET = f"import socket; socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, {OUR_MARK})"
LOAD_INTO_THE_KERNEL = """
import ctypes, platform, struct
number = {'x86_64': 321, 'aarch64': 280}[platform.machine()]
a_map = struct.pack('IIII', 2, 4, 4, 1)
exit(ctypes.CDLL(None).syscall(number, 0, a_map, len(a_map)) < 0)
"""
# What EC2's metadata service says, whoever asks; and that it was asked.
ROLE = f"""
import http.server, json
class Metadata(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        self.say('a token')
    def do_GET(self):
        keys = dict(AccessKeyId='testing', SecretAccessKey='testing', Token='t', Expiration='2099-01-01T00:00:00Z')
        self.say(json.dumps(keys) if self.path.endswith('/a-role') else 'a-role')
    def say(self, what):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(what.encode())
http.server.HTTPServer(('{METADATA}', 80), Metadata).serve_forever()
"""
# Somebody who takes mail, on each port that mail goes to; and what a server's own application does.
MAIL_PORTS = (25, 465, 587)
TAKE_MAIL = f"""
import socket, time
taken = [socket.create_server(('', port)) for port in {MAIL_PORTS}]
print('taking', flush=True)
time.sleep(600)
"""
SEND_MAIL = "import socket; socket.create_connection(('{}', {}), 5)"
MAIL_WITHIN = (
    "import socket; here = socket.create_server(('127.0.0.1', 25)); socket.create_connection(('127.0.0.1', 25))"
)
GET = "import sys, urllib.request as web; print(web.urlopen(sys.argv[1], timeout=9).read().decode())"

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("aws_is_loaded"),
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="booting an image needs root"),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed"),
]
with_a_network_of_its_own = functools.partial(in_an_enclosure, within=("unshare", "--net"))


@dataclass
class Server:
    """What was restored, as somebody sees it who is elsewhere: `within` is where they are."""

    place: Path
    aws: Aws
    within: Sequence[str]
    agent: "subprocess.Popen[bytes]"

    @property
    def tree(self) -> Path:
        return self.place / "store/hosts/us0a/tree"

    def ssh(self, who: str, command: str, check: bool = True) -> str:
        """As a client that has known this server by its name before, and would take no other for it."""
        known = ("-o", f"UserKnownHostsFile={self.place}/known_hosts", "-o", "HostKeyAlias=us0.example.org")
        argv = [*self.within, "ssh", "-F", "none", "-i", str(self.place / who), "-o", "BatchMode=yes", *known]
        ran = subprocess.run([*argv, f"{who}@{HERE}", command], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0 or not check, ran.stderr
        return ran.stdout.strip()

    def get(self, url: str) -> str:
        asked = [*self.within, sys.executable, "-c", GET, url]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def is_off(self) -> bool:
        return self.agent.poll() is not None

    def comparing(self) -> list[int]:
        """What compares it, while it does."""
        return [pid for pid in below(self.agent.pid) if b"ebbtide_agent.restore.comparing" in command_of(pid)]

    def signal_comparing(self, number: signal.Signals) -> None:
        for pid in self.comparing():
            os.kill(pid, number)

    def asked_for_its_role(self) -> int:
        """How often somebody was given its credentials."""
        return (self.place / "asked").read_text().count("/a-role")

    def fails(self, command: str) -> bool:
        """Whether root of the server cannot do this."""
        return self.ssh("root", f"({command}) >/dev/null 2>&1 || echo failed") == "failed"


def command_of(pid: int) -> bytes:
    """Nothing, of one that has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def grow(tree: Path, place: Path) -> None:
    """What makes this image a server of somebody's: two who may log in, what they know it by, and what it does."""
    for who, home in (("root", "root"), ("ada", "home/ada")):
        ssh = tree / home / ".ssh"
        ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
        (ssh / "authorized_keys").write_text(a_key(place / who).with_suffix(".pub").read_text())
    for path in ("home/ada", "home/ada/.ssh", "home/ada/.ssh/authorized_keys"):
        os.chown(tree / path, 1000, 1000)
    for name, line in (
        ("passwd", "ada:x:1000:1000::/home/ada:/bin/sh"),
        ("group", "ada:x:1000:"),
        ("shadow", "ada:*:20000:0:99999:7:::"),
    ):
        with (tree / "etc" / name).open("a") as file:
            file.write(f"{line}\n")
    for old in (tree / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    host_key = a_key(tree / "etc/ssh/ssh_host_ed25519_key").with_suffix(".pub").read_text()
    (place / "known_hosts").write_text(f"us0.example.org {host_key}")
    (tree / "srv/www").mkdir()
    (tree / "srv/www/index.html").write_text("here we are again")
    for name in ("page", "gone", "mode", "old"):
        (tree / "srv/www" / name).write_text("as it was")
    (tree / "etc/fstab").write_text(FSTAB)
    for name, unit, wanted_by in (
        ("web.service", WEB, "multi-user"),
        ("cron.service", A_JOB, "multi-user"),
        ("renewal.timer", A_TIMER, "timers"),
        ("harm.service", HARM, "multi-user"),
    ):
        (tree / "etc/systemd/system" / name).write_text(unit)
        wants = tree / f"etc/systemd/system/{wanted_by}.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / name).unlink(missing_ok=True)
        (wants / name).symlink_to(f"/etc/systemd/system/{name}")


@contextmanager
def metadata_at_hand(within: Sequence[str], log: Path) -> Iterator[None]:
    """Somebody answers where an instance asks for its role's credentials."""
    subprocess.run([*within, "ip", "address", "add", f"{METADATA}/32", "dev", "far-end"], check=True)
    ip("route", "add", f"{METADATA}/32", "dev", "wire")
    with log.open("wb") as asked:
        answering = subprocess.Popen([*within, sys.executable, "-c", ROLE], stderr=asked)
    try:
        wait_until(is_told_credentials, "somebody to answer for the metadata service")
        yield
    finally:
        answering.kill()
        answering.wait()


def is_told_credentials() -> bool:
    with suppress(OSError), socket.create_connection((METADATA, 80), timeout=5):
        return True
    return False


@contextmanager
def restored(image: Path, place: Path, known: str = ".") -> Iterator[Server]:
    """Be an instance that has the server's volume, and its agent started; until the server is there, and its comparison
    held up, or it is over. Its manifest is of what is `known`: all of it, where somebody waits for the comparison."""
    for private in (place, Path("/run")):  # nspawn keeps its locks in /run
        kernel.mount("tmpfs", private, "tmpfs", options="mode=755")
    tree, root = place / "store/hosts/us0a/tree", place / "instance"
    device = root / "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"
    for new in (tree, place / "upper", place / "work", device.parent, root / "home", root / "etc/ebbtide"):
        new.mkdir(parents=True)
    kernel.mount("overlay", tree, "overlay", options=f"lowerdir={image},upperdir={place}/upper,workdir={place}/work")
    grow(tree, place)
    device.symlink_to(place / "store")
    manifest.write(tree / known, "real", None, place / "manifest", Header("us0a", RUN, "real"))
    with another_network() as within, metadata_at_hand(within, place / "asked"), an_aws() as aws:
        aws.put(MANIFEST, (place / "manifest").read_bytes())
        brief = json.loads(Path("tests/contract/wire/brief-restore.json").read_text())
        brief |= {"recovery": RECOVERY, "volume": {"id": VOLUME}, "tree": "real"}
        aws.put(BRIEF, json.dumps(brief).encode())
        instance = {"role": "recovery", "id": RECOVERY, "attempt": 1, "bucket": BUCKET, "region": REGION}
        (root / "etc/ebbtide/instance.json").write_text(json.dumps({"schema": 1, **instance, "brief": BRIEF}))
        environment = {**os.environ, **aws.environment, "EBBTIDE_ROOT": str(root), "PYTHONPATH": "agent"}
        # As on an instance: they are those of its role.
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        with (place / "log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "ebbtide_agent", "recovery", "boot"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        server = Server(place, aws, within, agent)
        try:
            wait_until(lambda: server.comparing() or server.is_off(), "the comparison")
            server.signal_comparing(signal.SIGSTOP)
            wait_until(lambda: aws.find(STANDING) or server.is_off(), "the word that it stands")
            standing = aws.find(STANDING)
            assert standing and standing["boot"]["state"] == "booted", f"{standing}\n{server.log()}"
            yield server
        finally:
            agent.terminate()
            agent.wait(PATIENCE_SECONDS)


@pytest.fixture
def image() -> Path:
    """Made before the test is in a network of its own, where no mirror is."""
    return a_machine_image()


@pytest.mark.attack("ask the metadata service from a restored server", row="X8", outcome="there is no way to it")
@pytest.mark.attack("ask it by the interface, past every route", row="X8", outcome="the packet filter refuses it")
@pytest.mark.attack("mark a packet as the agent's", row="X8", outcome="that needs `CAP_NET_ADMIN` or `CAP_NET_RAW`")
@pytest.mark.attack("have the kernel mark it, by a program of one's own", row="X8", outcome="`bpf` is refused")
@pytest.mark.attack("take out the machine's packet filter", row="X8", outcome="that needs `CAP_NET_ADMIN`")
@pytest.mark.fault("X8")
@pytest.mark.fault("O5")
@with_a_network_of_its_own
def test_a_restored_servers_users_log_in_from_elsewhere_as_they_always_did(image: Path, tmp_path: Path) -> None:
    ask_for_a_role = f"import socket; socket.create_connection(('{METADATA}', 80), 5)"
    go_past_the_filter = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
    with restored(image, tmp_path) as server:
        who, name = server.ssh("ada", "id -un; hostname; echo still here >note").split()
        page = server.get(f"http://{HERE}/")
        refused = [
            server.fails(f'python3 -c "{TAKE_THE_FILTER_OUT}"'),
            server.fails(f'python3 -c "{ask_for_a_role}"'),
            server.fails(f'python3 -c "{ASK_A_NEIGHBOUR}"'),
            server.fails(f'python3 -c "{MARK_A_PACKET}"'),
            server.fails(f'python3 -c "{LOAD_INTO_THE_KERNEL}"'),
            server.fails(f'python3 -c "{go_past_the_filter}"'),
            server.fails("mknod /root/disk b 7 0"),
            server.fails("ls /srv/cron-has-run"),
            server.fails("systemctl is-active renewal.timer"),
            server.fails("mountpoint /srv/work"),
        ]

        harmed = server.ssh("root", "cd /srv/www; echo * $(cat page)")
        server.ssh("root", "echo >>/etc/passwd; rm -r /usr/share/doc; chown 7:7 /srv")
        server.ssh("root", "touch /run/before; systemctl reboot", check=False)
        wait_until(lambda: server.ssh("ada", "ls /run/before || cat note", check=False) == "still here", "the reboot")
        asked_before = server.asked_for_its_role()
        server.ssh("root", "poweroff", check=False)
        wait_until(lambda: server.aws.find(OFF), "it to be told that it is off")
        is_compared_first = not server.is_off() and server.aws.find(REPORT) is None
        server.signal_comparing(signal.SIGCONT)
        wait_until(server.is_off, "the instance to go off with its server")

        report = server.aws.find(REPORT)
        assert report and (report["verdict"], report["findings"]) == ("proven", []), f"{report}\n{server.log()}"
        assert list(report["timings"]) == ["mount", "boot", "probe", "compare"]
        assert is_compared_first
        # Once before it had the filter, and once past it.
        assert asked_before == 2
        assert harmed == "index.html linked mode new page other"
        assert (who, name, page) == ("ada", "restored-us0a", "here we are again")
        assert refused == [True] * 10
        assert server.agent.returncode == 0, server.log()
        assert not (server.tree / "home/ada/note").exists()
        assert (server.tree.parent / KEPT / "upper/home/ada/note").read_text() == "still here\n"


@pytest.mark.fault("O6")
@with_a_network_of_its_own
def test_no_mail_leaves_a_restored_server_until_its_operator_says_so_in_it(image: Path, tmp_path: Path) -> None:
    with restored(image, tmp_path, known="srv") as server, mail_taken(server.within):
        kept = [server.fails(f'python3 -c "{SEND_MAIL.format(THERE, port)}"') for port in MAIL_PORTS]
        is_kept_within = server.fails(f'python3 -c "{MAIL_WITHIN}"')
        server.ssh("root", "touch /etc/ebbtide-mail-leaves /run/before; systemctl reboot", check=False)
        wait_until(lambda: server.ssh("ada", "ls /run/before || echo up", check=False) == "up", "the reboot")
        kept_then = [server.fails(f'python3 -c "{SEND_MAIL.format(THERE, port)}"') for port in MAIL_PORTS]
        has_a_role_then = not server.fails(f'python3 -c "{ASK_A_NEIGHBOUR}"')

    assert (kept, is_kept_within) == ([True] * 3, False)
    assert (kept_then, has_a_role_then) == ([False] * 3, False)


@pytest.mark.fault("O8")
@with_a_network_of_its_own
def test_what_its_machine_answers_by_itself_is_no_answer_of_a_restored_server(image: Path, tmp_path: Path) -> None:
    ip("link", "set", "lo", "up")
    with answering_by_itself(), restored(image, tmp_path, known="srv") as server:
        standing = server.aws.find(STANDING)

    assert standing and standing["probe"]["ok"] is False
    assert "answered before the image was started" in standing["probe"]["answer"]


@contextmanager
def answering_by_itself() -> Iterator[None]:
    """Something of the machine's own, where the policy has the server asked."""
    serving = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "80"], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: is_answered("http://127.0.0.1/"), "the machine to answer by itself")
        yield
    finally:
        serving.kill()
        serving.wait()


def is_answered(url: str) -> bool:
    with suppress(OSError):
        return bool(urlopen(url, timeout=5).status == 200)
    return False


@contextmanager
def mail_taken(within: Sequence[str]) -> Iterator[None]:
    taking = subprocess.Popen([*within, sys.executable, "-c", TAKE_MAIL], stdout=subprocess.PIPE)
    try:
        assert taking.stdout and taking.stdout.readline() == b"taking\n"
        yield
    finally:
        taking.kill()
        taking.communicate()
