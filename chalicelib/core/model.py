"""The nouns of a night, as values: what the core decides on and the flows carry about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

SCHEMA = 1


class TreeKind(StrEnum):
    """How a tree keeps owners, modes and devices: in xattrs, or as themselves."""

    FAKE_SUPER = "fake-super"
    REAL = "real"


class HostStatus(StrEnum):
    """How a host's night went, as the receiver believes it."""

    EXPECTED = "expected"
    COMPLETE = "complete"
    COMPLETE_WITH_WARNINGS = "complete-with-warnings"
    PARTIAL = "partial"
    FAILED = "failed"
    SUSPECT = "suspect"
    MISSING = "missing"

    @property
    def is_complete(self) -> bool:
        return self in (HostStatus.COMPLETE, HostStatus.COMPLETE_WITH_WARNINGS)


class RunState(StrEnum):
    """Where a run is; the last three are final."""

    OPEN = "open"
    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self is not RunState.OPEN


@dataclass(frozen=True, order=True)
class RunId:
    """`main/2026-11-23/1`: the receiver, the local date of opening, the attempt on that date.

    `host.web1/2026-11-23/7951`: a host with a volume of its own, and when it was done: the UTC date, the second of it.
    """

    receiver: str
    day: date
    attempt: int

    def __str__(self) -> str:
        return f"{self.receiver}/{self.day.isoformat()}/{self.attempt}"


@dataclass(frozen=True)
class ExpectedHost:
    """A host frozen into a run. The nonce is what makes a report this run's own."""

    name: str
    id: str
    nonce: str


@dataclass(frozen=True)
class Quota:
    """What a host may hold on its receiver's volume, and held, in bytes; and why nothing keeps it to that, if so."""

    most: int | None
    used: int | None
    why: str = ""


@dataclass(frozen=True)
class HostResult:
    """What the receiver reported of one host in one run. `warnings` are of the host's own disks, and of no night."""

    run: RunId
    name: str
    id: str
    status: HostStatus
    files: int
    bytes_sent: int
    seconds: float
    tree: TreeKind
    manifest: str | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    quota: Quota | None = None


@dataclass(frozen=True)
class Disk:
    """How full a receiver's file system was when it let go: bytes, and inodes, whose limit may be none (0)."""

    size: int
    used: int
    free: int
    inodes: int
    inodes_used: int


@dataclass(frozen=True)
class Run:
    """One receiver's night, or that of a host with a volume of its own: then it is opened when the host was done, and
    its deadline is the end of the host's promise to leave the volume alone.

    `version` is the fencing number of the last conditional write; `full_zones` had no room for its receiver, or took
    none; `why` is what ended it otherwise than done, or what stands in the way. `disk` is what its last receiver
    measured; `growth_asked` is when its volume was to become larger; `aside` are the volumes that were found damaged,
    and are no receiver's any more; `untagged` says which tags of that were refused, and why. `nonce` stands in the keys
    of what its machines write (see `wire.word_key`): empty in a run that an earlier version opened, and in one
    of a host's own volume.
    """

    id: RunId
    policy_version: str
    opened: datetime
    deadline: datetime
    hosts: tuple[ExpectedHost, ...]
    state: RunState = RunState.OPEN
    machine_attempt: int = 1
    machine_launched: datetime | None = None
    full_zones: tuple[str, ...] = ()
    snapshot_intended: datetime | None = None
    snapshot_id: str | None = None
    closed: datetime | None = None
    why: str | None = None
    disk: Disk | None = None
    growth_asked: datetime | None = None
    aside: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    nonce: str = ""
    version: int = 0


@dataclass(frozen=True)
class Machine:
    """An EC2 instance of ours. `state` is EC2's own word: pending, running, … terminated."""

    id: str
    state: str
    address: str | None
    zone: str
    launched: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    instance_type: str = ""

    @property
    def is_gone(self) -> bool:
        return self.state == "terminated"

    @property
    def is_leaving(self) -> bool:
        return self.state == "shutting-down"

    @property
    def is_stopped(self) -> bool:
        return self.state in ("stopping", "stopped")


@dataclass(frozen=True)
class Volume:
    """An EBS volume of ours. `state` is EC2's word: creating, available, in-use, deleting, error.

    `key` is the KMS key it is encrypted with.
    """

    id: str
    state: str
    zone: str
    size_gib: int
    attached_to: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """An EBS snapshot of ours. `state` is EC2's word: pending, completed, error, … `key` is as of volumes."""

    id: str
    state: str
    started: datetime
    volume_id: str
    size_gib: int
    progress: int
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True)
class SnapshotLock:
    """EBS's own lock on a snapshot of ours. `state` is EC2's word: governance, compliance, expired, …

    `days` is for how many it was asked for; until `cool_off` one in compliance mode can still be taken back.
    """

    snapshot_id: str
    state: str
    until: datetime | None
    days: int = 0
    cool_off: datetime | None = None


@dataclass(frozen=True)
class Lease:
    """Who may act alone, until when. `version` is the fencing number of the last conditional write.

    `holder` is the invocation that acts: the same in each of its retries, None for one that is never retried.
    """

    name: str
    until: datetime
    holder: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A host, complete, in a completed snapshot: the only thing one restores from."""

    host_id: str
    at: datetime
    snapshot_id: str
    run: RunId
    tree: TreeKind
    manifest: str | None
    proven: datetime | None = None


@dataclass(frozen=True)
class CopyIntent:
    """That a copy of a snapshot was asked for: how often, when last, and why that failed. Gone once it is complete."""

    snapshot_id: str
    region: str
    attempt: int
    asked: datetime
    why: str | None = None
    version: int = 0


@dataclass(frozen=True)
class Uncopied:
    """A snapshot that lacks a copy which is wanted: since when, how often one has failed, and why it failed last."""

    snapshot_id: str
    run: str
    since: datetime
    failures: int = 0
    why: str | None = None


@dataclass(frozen=True)
class Copying:
    """What lacked its copy in one place when that was last seen; `blind` is why it could not be seen since.

    `unlocked` says why copies that EBS was to lock are not, and since when that is so.
    """

    place: str
    seen: datetime
    uncopied: tuple[Uncopied, ...] = ()
    blind: str | None = None
    unlocked: tuple[str, ...] = ()
    unlocked_since: datetime | None = None
    version: int = 0


@dataclass(frozen=True)
class Pruning:
    """How the latest pruning went: why it was refused, if it was, and what it missed.

    `gone` says which snapshots with restore points somebody else has deleted, and was found at `missed`.
    """

    at: datetime
    refused: str | None = None
    gone: tuple[str, ...] = ()
    missed: datetime | None = None


class RecoveryKind(StrEnum):
    """Why a restore point is being brought up: to prove it, to use it whole, or to let its host get files back."""

    DRILL = "drill"
    RESTORE = "restore"
    OPENING = "opening"


class RecoveryState(StrEnum):
    """Where a recovery is; the last two are final."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self is not RecoveryState.OPEN


@dataclass(frozen=True, order=True)
class RecoveryId:
    """`us0a/2026-11-23/1`: the host's id, the UTC date it was asked for, the attempt on that date."""

    host_id: str
    day: date
    attempt: int

    def __str__(self) -> str:
        return f"{self.host_id}/{self.day.isoformat()}/{self.attempt}"


@dataclass(frozen=True, order=True, slots=True)
class Way:
    """One way in: a TCP port, for a network."""

    port: int
    network: str


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a recovery, as its machine calls it, and since when it is at that."""

    name: str
    since: datetime


@dataclass(frozen=True)
class Times:
    """When the image of a recovery had answered, None while it has not; and what each step took, in seconds."""

    answered: datetime | None
    steps: Mapping[str, float]


@dataclass(frozen=True)
class Recovery:
    """One drill, restore or opening, reconciled like a run, under the policy that was in force when it was opened.

    `name` is what the restored image calls itself; `address` is where an opening that stands is reached, or a server
    that is back. `ways` are those in that it wants: they lead to whatever stands restored beside it as well, and into
    nothing else. `start` are commands for an image that has no init that its machine knows. `attempt` counts its
    machines, each with a volume of its own; the latest one was `launched` then, in this `zone`, of
    this `instance_type`: what nobody knows of one that an earlier version has launched, or that was rebuilt. `lives` is
    how long a restore's machine does by itself, from when it was asked for: an earlier version wrote none down, and
    gave it the usual time. `step` is the last that it has come to, until its verdict is known.
    Somebody has closed one that is `ended_early`, before its time. `nonce` is its latest machine's alone, and stands in
    the keys of all that this one says; an opening has none, nor has what an earlier version began.
    """

    id: RecoveryId
    kind: RecoveryKind
    host: str
    name: str
    point: RestorePoint
    probe: str | None
    policy_version: str | None
    opened: datetime
    deadline: datetime
    state: RecoveryState = RecoveryState.OPEN
    verdict: str | None = None
    findings: tuple[str, ...] = ()
    machine_id: str | None = None
    address: str | None = None
    ways: tuple[Way, ...] = ()
    start: tuple[str, ...] = ()
    attempt: int = 1
    launched: datetime | None = None
    zone: str | None = None
    instance_type: str | None = None
    lives: timedelta | None = None
    ended_early: bool = False
    step: Step | None = None
    times: Times | None = None
    nonce: str = ""
    closed: datetime | None = None
    version: int = 0


@dataclass(frozen=True)
class Boot:
    """Whether the restored image came up with its own init, and how long that took."""

    booted: bool
    why: str | None
    seconds: float


@dataclass(frozen=True)
class ProbeAnswer:
    """What the booted image answered when it was asked the host's question."""

    target: str
    answer: str
    ok: bool


@dataclass(frozen=True)
class RestoredServer:
    """What a restore's machine says of its server before it has compared it; `failed` is what of it has, and why, of
    one that does not answer."""

    recovery: RecoveryId
    host_id: str
    boot: Boot
    probe: ProbeAnswer | None
    timings: Mapping[str, float]
    since: datetime
    began: datetime | None = None
    answered: datetime | None = None
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecoveryReport:
    """What a recovery's machine found: the tree against its manifest, the boot, the probe."""

    recovery: RecoveryId
    host_id: str
    verdict: str
    entries: int
    missing: int
    extra: int
    different: int
    unhashed: int
    findings: tuple[str, ...]
    boot: Boot
    probe: ProbeAnswer | None
    found: str | None
    timings: Mapping[str, float]
    finished: datetime
    began: datetime | None = None
    answered: datetime | None = None
