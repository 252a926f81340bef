"""Where everything lives: every path of the agent, from one root prefix ("/" on a real machine)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Where nobody can make anything: a dry run of rsync's takes it for an empty directory.
NOWHERE = Path("/proc/nowhere")


def device_name(volume_id: str) -> str:
    """The name under which EC2 shows an EBS volume: the serial number has no dash."""
    return f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


@dataclass(frozen=True)
class HostPaths:
    """The host's half: what the operator writes below `etc`, what the agent keeps below `state`."""

    etc: Path = Path("/etc")
    state: Path = Path("/var/lib/ebbtide")
    # What the kernel and the installation say of this machine, wherever the rest is.
    machine_id: Path = Path("/etc/machine-id")
    hardware_id: Path = Path("/sys/class/dmi/id/product_uuid")
    asset_tag: Path = Path("/sys/class/dmi/id/board_asset_tag")
    disks: Path = Path("/dev/disk/by-id")
    local_time: Path = Path("/etc/localtime")
    kernel: Path = Path("/proc/stat")

    @property
    def config(self) -> Path:
        return self.etc / "backup_config"

    @property
    def include(self) -> Path:
        return self.etc / "backup_include"

    @property
    def exclude(self) -> Path:
        return self.etc / "backup_exclude"

    @property
    def scripts(self) -> Path:
        return self.etc / "backupscripts"

    @property
    def secrets(self) -> Path:
        """Where install puts the key and the receiver's pinned host key."""
        return self.etc / "ebbtide"

    @property
    def cron(self) -> Path:
        return self.etc / "cron.d/ebbtide-agent"

    @property
    def service(self) -> Path:
        return self.etc / "systemd/system/ebbtide-agent.service"

    @property
    def timer(self) -> Path:
        return self.etc / "systemd/system/ebbtide-agent.timer"

    @property
    def peer(self) -> Path:
        """Which other servers' backups this machine takes."""
        return self.secrets / "peer.json"

    @property
    def peer_key(self) -> Path:
        """The host key that those have pinned."""
        return self.secrets / "peer_host_key"

    @property
    def peer_service(self) -> Path:
        return self.etc / "systemd/system/ebbtide-peer.service"

    @property
    def kept(self) -> tuple[Path, ...]:
        """All that the agent keeps below `state`. What else is there, dumps too, is not the agent's to remove."""
        of_nights = (self.lock, self.running, self.last_report, self.history, self.baseline)
        of_the_tree = (self.index, self.new_index, self.later_index, self.contents, self.nothing, self.scratch)
        return (*of_nights, *of_the_tree, self.installed, *self._of_targets)

    @property
    def _of_targets(self) -> tuple[Path, ...]:
        of_others = (self.remote, self.outgoing, self.fetched_report, self.pusher)
        return (self.target, *of_others, self.outbox, self.promise, self.sockets)

    @property
    def lent(self) -> tuple[Path, ...]:
        """Directories below `state` in which there may be what is somebody's: dumps, a volume with its backups."""
        return (self.dumps, self.volume)

    @property
    def installed(self) -> Path:
        """What install wrote down: which machine this is, and its window."""
        return self.state / "installed.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def running(self) -> Path:
        """There while a run goes on, and after one that was killed."""
        return self.state / "running"

    @property
    def pusher(self) -> Path:
        """What tells this state's runs from others where no gate does."""
        return self.state / "pusher"

    @property
    def last_report(self) -> Path:
        return self.state / "last-report.json"

    @property
    def baseline(self) -> Path:
        """What the last complete night was of."""
        return self.state / "last-complete.json"

    @property
    def history(self) -> Path:
        """The reports of the last nights, one a line."""
        return self.state / "history.jsonl"

    @property
    def index(self) -> Path:
        return self.state / "index"

    @property
    def new_index(self) -> Path:
        """The one that becomes the index when tonight's report is recorded."""
        return self.state / "index.new"

    @property
    def later_index(self) -> Path:
        """The same of a scan after the push, until it is known which of the two tonight's report is of."""
        return self.state / "index.later"

    @property
    def contents(self) -> Path:
        """What is known of files' contents."""
        return self.state / "contents"

    @property
    def dumps(self) -> Path:
        """Where scripts leave what is to travel; it is theirs, and never emptied."""
        return self.state / "dumps"

    @property
    def nothing(self) -> Path:
        """An empty directory."""
        return self.state / "nothing"

    @property
    def scratch(self) -> Path:
        """Directories of commands that go on now, or were killed."""
        return self.state / "scratch"

    @property
    def target(self) -> Path:
        """Which directory of this host the last backup went to, of those that went to one."""
        return self.state / "target.json"

    @property
    def remote(self) -> Path:
        """Which place on a machine that is not ours the last backup went to, of those that went to one."""
        return self.state / "remote.json"

    @property
    def outgoing(self) -> Path:
        """What is to be put on a machine that is not ours."""
        return self.state / "outgoing"

    @property
    def fetched_report(self) -> Path:
        """The report that a machine which is not ours holds."""
        return self.state / "fetched-report.json"

    @property
    def outbox(self) -> Path:
        """What this host has still to put into the archive itself."""
        return self.state / "outbox"

    @property
    def promise(self) -> Path:
        """Until when this host leaves its volume alone."""
        return self.state / "promise.json"

    @property
    def volume(self) -> Path:
        """Where its own volume is while it is written to. Never to be removed with what is in it."""
        return self.state / "volume"

    @property
    def sockets(self) -> Path:
        """Those of connections that go on to be used. A run that was killed leaves its own to the next."""
        return self.state / "sockets"

    @property
    def fstab(self) -> Path:
        return self.etc / "fstab"


@dataclass(frozen=True)
class OwnVolumePaths:
    """The layout of a host's own volume: what is restored from it lies where a receiver has it."""

    path: Path
    host_id: str

    @property
    def mark(self) -> Path:
        """It says whose volume this is."""
        return self.path / "ebbtide.json"

    @property
    def home(self) -> Path:
        return self.path / "hosts" / self.host_id

    @property
    def tree(self) -> Path:
        return self.home / "tree"

    @property
    def manifest(self) -> Path:
        return self.home / "manifest.jsonl.gz"

    @property
    def report(self) -> Path:
        """The last complete night's; not there while the tree is none."""
        return self.home / "report.json"

    @property
    def pushing(self) -> Path:
        """There while the tree is pushed to, and until a push has compared what nobody knows to be on the disk."""
        return self.home / "pushing"


@dataclass(frozen=True)
class DirectoryPaths:
    """The layout of a directory that holds a host's snapshots. What is hidden in it is none of them."""

    path: Path

    @property
    def mark(self) -> Path:
        """It says whose snapshots these are."""
        return self.path / "ebbtide.json"

    @property
    def lock(self) -> Path:
        """Locked by the night that writes here. Never removed: the next one would lock another."""
        return self.path / ".lock"

    def snapshot(self, name: str) -> Path:
        return self.path / name

    def tree(self, name: str) -> Path:
        return self.snapshot(name) / "tree"

    def report(self, name: str) -> Path:
        return self.snapshot(name) / "report.json"

    def manifest(self, name: str) -> Path:
        return self.snapshot(name) / "manifest.jsonl.gz"

    @property
    def incomplete(self) -> Path:
        """What becomes the next snapshot."""
        return self.path / ".incomplete"

    @property
    def making(self) -> Path:
        return self.incomplete / "tree"

    @property
    def making_night(self) -> Path:
        """By which night it is made."""
        return self.incomplete / "night"

    @property
    def making_report(self) -> Path:
        return self.incomplete / "report.json"

    @property
    def making_manifest(self) -> Path:
        return self.incomplete / "manifest.jsonl.gz"

    @property
    def before(self) -> Path:
        """What a full push links to when the index has gone before it."""
        return self.incomplete / "before"

    @property
    def expired(self) -> Path:
        return self.path / ".expired"


class GatePaths:
    """Where a gate has what it needs: its own notes in `run`, the hosts' trees in `volume`."""

    @property
    def run(self) -> Path:
        """What no host can reach, and a restart may forget."""
        raise NotImplementedError

    @property
    def volume(self) -> Path:
        raise NotImplementedError

    @property
    def confinement(self) -> Path:
        return self.run / "confinement"

    @property
    def closing(self) -> Path:
        """Its presence says that nobody may begin anything any more."""
        return self.run / "closing"

    @property
    def not_kept(self) -> Path:
        """It says what the kernel said of what was written and is not on the volume's disk."""
        return self.run / "not-kept"

    @property
    def sessions(self) -> Path:
        return self.run / "sessions"

    @property
    def quotas(self) -> Path:
        """By what hosts are kept to theirs tonight."""
        return self.run / "quotas.json"

    def lease(self, host_id: str) -> Path:
        return self.sessions / f"{host_id}.lock"

    def seat(self, host_id: str, number: int) -> Path:
        """Locked by one of the sessions that a host has now."""
        return self.sessions / f"{host_id}.seat{number}"

    def session(self, host_id: str) -> Path:
        return self.sessions / f"{host_id}.json"

    def rsync_config(self, host_id: str) -> Path:
        return self.sessions / f"{host_id}.rsyncd.conf"

    def reported(self, host_id: str) -> Path:
        return self.sessions / f"{host_id}.reported"

    def without_place(self, host_id: str) -> Path:
        """It says why there is none for this host tonight."""
        return self.sessions / f"{host_id}.without-place"

    @property
    def volume_owner(self) -> Path:
        return self.volume / "receiver.json"

    @property
    def hosts(self) -> Path:
        return self.volume / "hosts"

    def host(self, host_id: str) -> Path:
        return self.hosts / host_id

    def tree(self, host_id: str) -> Path:
        return self.host(host_id) / "tree"

    def manifest(self, host_id: str) -> Path:
        """Of the tree as it was on the last complete night that is on record."""
        return self.host(host_id) / "manifest.jsonl.gz"

    def next_manifest(self, host_id: str) -> Path:
        """Of the tree as it landed, until the night is on record."""
        return self.host(host_id) / "next-manifest.jsonl.gz"

    def status(self, host_id: str) -> Path:
        return self.host(host_id) / "status.json"

    def heard(self, host_id: str) -> Path:
        """Which machine the host was in its last run."""
        return self.host(host_id) / "heard.json"


@dataclass(frozen=True)
class MachinePaths(GatePaths):
    """A machine that lives for one run or one recovery: its own files, the mounted volume, and the volume's layout."""

    root: Path = Path("/")

    @property
    def instance(self) -> Path:
        return self.root / "etc/ebbtide/instance.json"

    @property
    def program(self) -> Path:
        """The agent as its gate is started."""
        return self.root / "opt/ebbtide/agent"

    @property
    def run(self) -> Path:
        """What this machine needs tonight; nothing in here survives it."""
        return self.root / "run/ebbtide"

    @property
    def brief(self) -> Path:
        return self.run / "brief.json"

    @property
    def outbox(self) -> Path:
        """Events that are still to be sent."""
        return self.run / "outbox"

    def device(self, volume_id: str) -> Path:
        return self.root / "dev/disk/by-id" / device_name(volume_id)

    @property
    def volume(self) -> Path:
        return self.root / "srv/ebbtide"


@dataclass(frozen=True)
class PeerPaths(GatePaths):
    """A machine that takes other servers' backups, for good: the agent's state as a host has it, and the store."""

    state: Path
    store: Path

    @property
    def run(self) -> Path:
        return self.state / "peer"

    @property
    def volume(self) -> Path:
        return self.store

    @property
    def program(self) -> Path:
        """The agent as its gate is started."""
        return self.run / "agent"

    @property
    def told(self) -> Path:
        """Touched when a report was recorded, for whoever makes the snapshots."""
        return self.run / "told"

    def night(self, host_id: str) -> Path:
        """What a host's last hello was answered."""
        return self.run / f"{host_id}.night.json"

    def trouble(self, host_id: str) -> Path:
        """Why the last snapshot of a host could not be made."""
        return self.run / f"{host_id}.trouble"

    @property
    def serving(self) -> Path:
        """Locked by the process that serves."""
        return self.run / "serving"

    @property
    def changing(self) -> Path:
        """Locked by whoever changes the register."""
        return self.run / "changing"

    @property
    def authorized_keys(self) -> Path:
        return self.run / "authorized_keys"

    def owner(self, host_id: str) -> Path:
        """It says whose place this is."""
        return self.host(host_id) / "ebbtide.json"

    def archive(self, host_id: str) -> Path:
        """The reports of a host, and the manifests beside them."""
        return self.host(host_id) / "archive"

    def snapshots(self, host_id: str) -> DirectoryPaths:
        return DirectoryPaths(self.host(host_id) / "snapshots")
