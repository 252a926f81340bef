"""A receiver on loopback for tests: the built agent, a real sshd, a real confined rsync, and AWS's API from moto."""

import errno
import getpass
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core.base_backend import BackendDict
from moto.server import ThreadedMotoServer

from chalicelib.core.tags import Role
from chalicelib.core.userdata import render
from ebbtide_agent.compiled import compiled
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.volume import MOUNT_OPTIONS
from tests.local.ports import a_free_port
from tests.local.processes import below, name_of
from tests.local.programs import a_place, a_quick_sshd
from tools.build_agent import build

RUN = "main/2026-11-23/1"
BUCKET, REGION, VOLUME = "archive", "us-east-1", "vol-0abc"
NONCE = "c0de" * 8
LOG = "/events"
UNPRIVILEGED = 1234567
PATIENCE_SECONDS = 120.0
SITE_PACKAGES = str(Path(boto3.__file__).parents[1])
NEEDED = ("rsync", "ssh", "ssh-keygen", "bwrap", "setpriv")
MAY_MOUNT = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
MISSING = [name for name in NEEDED if shutil.which(name) is None]


def wait_until(happens: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """Poll until something is true and return it."""
    deadline = time.monotonic() + patience
    while not (found := happens()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience:.0f} s for {what}")
        time.sleep(0.05)
    return found


def arrived(file: Path) -> int:
    """How much is there of a file that is being pushed: under its name in a tree that was empty, else beside it."""
    return max(
        (each.stat().st_size for each in (file, *file.parent.glob(f".{file.name}.*")) if each.exists()), default=0
    )


def wait_until_free(device: Path) -> None:
    """A mount namespace made by a test beside this one may hold a copy of our mount for a moment."""
    wait_until(lambda: not device.is_block_device() or _is_free(device), f"{device} to be free")


def _is_free(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@dataclass(frozen=True)
class Aws:
    """AWS's API on localhost, and what has arrived there."""

    endpoint: str

    @cache  # noqa: B019 - to make one takes long, and some are asked again and again
    def client(self, service: str) -> Any:
        make: Any = boto3.client
        credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return make(service, region_name=REGION, endpoint_url=self.endpoint, **credentials)

    @property
    def environment(self) -> dict[str, str]:
        credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": REGION, **credentials}

    def put(self, key: str, body: bytes) -> None:
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def find(self, key: str) -> dict[str, Any] | None:
        s3 = self.client("s3")
        try:
            return dict(json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()))
        except s3.exceptions.NoSuchKey:
            return None

    def body(self, key: str) -> bytes:
        return bytes(self.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def events(self) -> list[dict[str, Any]]:
        logs = self.client("logs")
        return [json.loads(event["message"]) for event in logs.filter_log_events(logGroupName=LOG)["events"]]


@contextmanager
def an_aws() -> Iterator[Aws]:
    """A new, empty one: the archive's bucket, and a rule that writes every event of ours to a log."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        aws = Aws(f"http://{host}:{port}")
        aws.client("s3").create_bucket(Bucket=BUCKET)
        aws.client("logs").create_log_group(logGroupName=LOG)
        events = aws.client("events")
        events.put_rule(Name="all", EventPattern=json.dumps({"source": [{"prefix": "ebbtide."}]}))
        arn = f"arn:aws:logs:{REGION}:123456789012:log-group:{LOG}"
        events.put_targets(Rule="all", Targets=[{"Id": "log", "Arn": arn}])
        yield aws
    finally:
        BackendDict.reset()
        server.stop()


def report_key(host_id: str, run: str = RUN) -> str:
    return f"reports/{run}/{NONCE}/hosts/{host_id}.json"


def word_key(what: str, attempt: int = 1, run: str = RUN) -> str:
    return f"reports/{run}/{NONCE}/words/{what}/{attempt}.json"


@dataclass(frozen=True)
class HostKey:
    """A host of the run and its key; while that rotates the policy has the `following` one as well."""

    name: str
    id: str
    private: Path
    following: Path | None = None

    @property
    def nonce(self) -> str:
        return f"{self.id:0<32}"

    @property
    def taken(self) -> list[str]:
        """Its keys as the policy has them."""
        return [key.with_name(f"{key.name}.pub").read_text().strip() for key in (self.private, self.following) if key]


@dataclass(frozen=True)
class Volume:
    """A device for the receiver to make a file system on, quotas in GiB by host, and programs beside the machine's."""

    device: Path
    filesystem: str
    quotas: Mapping[str, float] = field(default_factory=dict)
    programs: Path | None = None


@dataclass
class Receiver:
    """The machine: a root of its own, and one process that is its main one."""

    root: Path
    store: Path
    port: int
    user: str
    aws: Aws
    hosts: Mapping[str, HostKey]
    start: "Callable[[], subprocess.Popen[bytes]]"
    process: "subprocess.Popen[bytes]"
    agent: Path
    kind: str
    volume: Volume | None = None
    run: str = RUN

    def tree(self, host: str) -> Path:
        return self.store / "hosts" / self.hosts[host].id / "tree"

    def next_night(self, run: str, guarded: bool = True) -> None:
        """Once the volume was let go, be another machine with it, for another run."""
        self.process.wait(PATIENCE_SECONDS)
        if volume := self.volume:
            wait_until_free(volume.device)
        shutil.rmtree(self.root / "run")
        self.run = run
        brief = a_brief(list(self.hosts.values()), 60, run, guarded, self.volume)
        self.aws.put("brief", json.dumps(brief).encode())
        instance = self.root / "etc/ebbtide/instance.json"
        instance.write_text(json.dumps({**json.loads(instance.read_text()), "id": run}))
        self.process = self.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until(lambda: "ready" in self.log() or self.process.poll() is not None, "the receiver")
        assert self.process.poll() is None, self.log()

    def log(self) -> str:
        return (self.root / "log").read_text()

    def ssh(
        self, host: str, *words: str, feed: bytes = b"", options: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*self.ssh_argv(host, *options), "127.0.0.1", *words],
            input=feed,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )

    def ssh_argv(self, host: str, *options: str) -> list[str]:
        fixed = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=localhost"]
        fixed.append(f"UserKnownHostsFile={self.root / 'known_hosts'}")
        chosen = [word for option in fixed for word in ("-o", option)]
        key = str(self.hosts[host].private)
        return ["ssh", "-F", "none", "-l", self.user, "-p", str(self.port), "-i", key, *chosen, *options]

    def tell_sshd(self, setting: str, instead: str) -> None:
        """Change what sshd was told, and let it begin anew with that."""
        config, log = (self.root / "run/ebbtide" / name for name in ("sshd_config", "sshd.log"))
        before, text = log.read_text().count("Server listening"), config.read_text()
        assert setting in text
        config.write_text(text.replace(setting, instead))
        sshd = next(process for process in below(self.process.pid) if name_of(process) == "sshd")
        os.kill(sshd, signal.SIGHUP)
        wait_until(lambda: log.read_text().count("Server listening") > before, "sshd")

    def rsync(self, host: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
        argv = ["rsync", "-e", shlex.join(self.ssh_argv(host)), *words]
        return subprocess.run(argv, capture_output=True, timeout=PATIENCE_SECONDS)

    def report(self, host: str) -> dict[str, Any] | None:
        return self.aws.find(report_key(self.hosts[host].id, self.run))

    def word(self, what: str, attempt: int = 1) -> dict[str, Any] | None:
        """What its machine of this attempt has said of itself."""
        return self.aws.find(word_key(what, attempt, self.run))

    def configure(self, host: str, tree: Path, etc: Path, **settings: str) -> HostPaths:
        """Write a host's configuration below `etc`."""
        etc.mkdir(exist_ok=True)
        values = {
            "HOST": host,
            "TARGET": f"receiver://localhost:{self.port}",
            "KEEP": "7",
            "USER": self.user,
            "KEY": str(self.hosts[host].private),
            "KNOWN_HOSTS": str(self.root / "known_hosts"),
            "ROOT": str(tree),
            "WAIT_MINUTES": "1",
            **settings,
        }
        (etc / "backup_config").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return HostPaths(etc, etc / "state")

    def bring(self, host: str, tree: Path) -> None:
        """A host's night without its agent."""
        self.push(host, tree)
        self.report_complete(host)

    def push(self, host: str, tree: Path) -> None:
        pushed = self.rsync(host, "-a", f"{tree}/", "127.0.0.1::tree/")
        assert pushed.returncode == 0, pushed.stderr

    def report_complete(self, host: str) -> None:
        told = self.ssh(host, "report", feed=a_report(self, host))
        assert told.returncode == 0, told.stderr

    def back_up(self, host: str, tree: Path, etc: Path, *options: str) -> "subprocess.CompletedProcess[str]":
        """Let the agent of a host back a tree up, configured below `etc`."""
        argv = self.night_argv(host, tree, etc, *options)
        return subprocess.run(argv, capture_output=True, text=True, timeout=600)

    def night_argv(self, host: str, tree: Path, etc: Path, *options: str, **settings: str) -> list[str]:
        """What starts it, once it is configured."""
        paths = self.configure(host, tree, etc, **settings)
        words = [sys.executable, str(self.agent), "run", "--etc", str(paths.etc), "--state", str(paths.state)]
        return [*words, "--log", str(etc / "no-log"), "--progress", "lines", *options]


@contextmanager
def a_receiver(
    aws: Aws,
    kind: str,
    hosts: Sequence[str] = ("us0", "eu0"),
    minutes: float = 60,
    from_user_data: bool = False,
    disk: Path | None = None,
    program: Sequence[str] | None = None,
    volume: Volume | None = None,
    rotating: Collection[str] = (),
) -> Iterator[Receiver]:
    """Boot a receiver with walls of this kind and wait until it is ready. Only "separate" runs as root.

    Its volume is `volume`, or the file system in the image `disk`, mounted for it as it would itself, or a directory;
    `program` is what runs instead of the agent's. Hosts that are `rotating` have two keys.
    """
    with tempfile.TemporaryDirectory(prefix="ebbtide-receiver-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        root, store = place / "machine", place / "store"
        keys = {name: HostKey(name, f"{name}a", a_key(place / f"key-{name}")) for name in hosts}
        for name in rotating:
            keys[name] = replace(keys[name], following=a_key(place / f"key-{name}.next"))
        device = root / "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"
        for new in (store, device.parent, root / "home"):
            new.mkdir(parents=True)
        device.symlink_to(volume.device if volume else store)
        if disk is not None:
            subprocess.run(["mount", "-o", f"loop,{MOUNT_OPTIONS}", str(disk), str(store)], check=True)
        host_key = a_key(place / "host-key")
        aws.client("ssm").put_parameter(Name="/host-key", Type="SecureString", Value=host_key.read_text())
        (root / "known_hosts").write_text(f"localhost {host_key.with_suffix('.pub').read_text()}")
        aws.put("brief", json.dumps(a_brief(list(keys.values()), minutes, volume=volume)).encode())
        port = a_free_port()
        environment = {
            **aws.environment,
            "EBBTIDE_ROOT": str(root),
            "EBBTIDE_SSH_PORT": str(port),
            "HOME": str(root / "home"),
            "PATH": f"{volume.programs}:{path_of(kind, place)}" if volume and volume.programs else path_of(kind, place),
            "PYTHONPATH": SITE_PACKAGES,
        }
        argv, user = as_whom(kind == confine.SEPARATE, place, root, store)
        log = root / "log"
        words = [*argv, *(_user_data(aws, place) if from_user_data else _started(root, program))]

        def start() -> "subprocess.Popen[bytes]":
            with log.open("wb") as output:
                return subprocess.Popen(words, stdout=output, stderr=output, env=environment, start_new_session=True)

        mounted = root / "srv/ebbtide" if volume else store
        receiver = Receiver(root, mounted, port, user, aws, keys, start, start(), unpacked(build), kind, volume)
        try:
            receiver.wait_until_ready()
            yield receiver
        finally:
            receiver.process.send_signal(signal.SIGTERM)
            try:
                receiver.process.wait(PATIENCE_SECONDS)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(receiver.process.pid, signal.SIGKILL)
                if disk is not None or mounted.is_mount():
                    subprocess.run(["umount", str(mounted)], check=True)


def a_brief(
    hosts: Sequence[HostKey], minutes: float, run: str = RUN, guarded: bool = True, volume: Volume | None = None
) -> dict[str, Any]:
    deadline = datetime.now(UTC) + timedelta(minutes=minutes)
    return {
        "schema": 1,
        "run": run,
        "receiver": "main",
        "policy": "000001",
        "opened": "2026-11-23T02:00:00Z",
        "deadline": deadline.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "grace_minutes": 30,
        "volume": {"id": VOLUME, "filesystem": volume.filesystem if volume else "ext4"},
        "host_key_parameter": "/host-key",
        "nonce": NONCE,
        "hosts": [
            {
                "name": h.name,
                "id": h.id,
                "uid": 1_000_000 + int(h.id, 36),
                "keys": h.taken,
                "nonce": h.nonce,
                "quota_gib": volume.quotas.get(h.name) if volume else None,
                "guarded": guarded,
            }
            for h in hosts
        ],
    }


@cache
def unpacked(make: Callable[[Path], None]) -> Path:
    """The agent that this makes, as a receiver starts it quickest: compiled, here once for all that start it."""
    place = Path(a_place().name)
    make(place / f"{make.__name__}.pyz")
    return compiled(place / f"{make.__name__}.pyz", place / make.__name__)


def _started(root: Path, program: Sequence[str] | None) -> list[str]:
    """The receiver's main command, for a machine whose user data has done the rest."""
    instance = {"role": "receiver", "id": RUN, "attempt": 1, "bucket": BUCKET, "region": REGION, "brief": "brief"}
    (root / "etc/ebbtide").mkdir(parents=True)
    (root / "etc/ebbtide/instance.json").write_text(json.dumps({"schema": 1, **instance, "nonce": NONCE}))
    return [sys.executable, *(program or (str(unpacked(build)), "receiver", "boot"))]


def _user_data(aws: Aws, place: Path) -> list[str]:
    """The boot script itself, as the control plane renders it, with the agent in the bucket."""
    build(place / "ebbtide-agent.pyz")
    aws.put("agent/ebbtide-agent.pyz", (place / "ebbtide-agent.pyz").read_bytes())
    script = place / "machine/user-data"
    script.write_text(
        render(
            Role.RECEIVER, RUN, 1, BUCKET, REGION, "brief", "agent/ebbtide-agent.pyz", 300, 30, serves=True, nonce=NONCE
        )
    )
    return ["sh", str(script)]


def as_whom(privileged: bool, place: Path, *owned: Path) -> tuple[list[str], str]:
    """What to start a command with to have it run as root or not, and the login name that sshd will accept.

    As root, the unprivileged user is made for this one process: in a mount namespace with a passwd of its own, and
    `owned` becomes that user's.
    """
    if privileged or os.geteuid() != 0:
        return [], getpass.getuser()
    passwd = place / "passwd"
    passwd.write_text(
        f"{Path('/etc/passwd').read_text()}ebbtide-test:x:{UNPRIVILEGED}:{UNPRIVILEGED}::{place}:/bin/sh\n"
    )
    subprocess.run(["chown", "-R", f"{UNPRIVILEGED}:{UNPRIVILEGED}", *map(str, owned)], check=True)
    mounts = f"mount --bind {passwd} /etc/passwd{_opening(Path(sys.base_prefix), place)}"
    become = f"setpriv --reuid {UNPRIVILEGED} --regid {UNPRIVILEGED} --clear-groups --inh-caps=-all"
    script = f'{mounts} && exec {become} "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"], "ebbtide-test"


def _opening(directory: Path, place: Path) -> str:
    """The mounts that let everyone reach a directory, for instance a Python that lives in root's home."""
    closed = [above for above in directory.parents if not above.stat().st_mode & 0o001]
    if not closed:
        return ""
    reached = closed[0] / directory.relative_to(closed[0]).parts[0]
    aside = place / "aside"
    aside.mkdir(exist_ok=True)
    steps = (
        f"mount --bind {reached} {aside}",
        f"mount -t tmpfs -o mode=755 tmpfs {closed[0]}",
        f"mkdir {reached}",
        f"mount --bind {aside} {reached}",
    )
    return "".join(f" && {step}" for step in steps)


def path_of(kind: str, place: Path) -> str:
    """The PATH of a machine; where namespaces shall not work, with a bwrap that says so."""
    usual = f"{a_quick_sshd().parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    if kind != confine.MUNGED:
        return usual
    broken = place / "broken/bwrap"
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    return f"{broken.parent}:{usual}"


def a_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)], check=True)
    return path


def a_report(receiver: Receiver, host: str = "us0", **changes: object) -> bytes:
    key = receiver.hosts[host]
    times = {"started": "2026-11-23T02:10:00Z", "finished": "2026-11-23T02:12:30Z"}
    counts = {"exit_code": 0, "files": 1, "entries": 2, "bytes_total": 100, "bytes_sent": 150}
    about = {"agent": "0.1.0", "rsync": "3.5.0", "os": "Debian", "arch": "x86_64", "scripts": [], "problems": []}
    whose = {"schema": 1, "run": RUN, "host": host, "id": key.id, "nonce": key.nonce, "status": "complete"}
    return json.dumps({**whose, **times, **counts, **about, **changes}).encode()
