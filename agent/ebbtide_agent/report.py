"""What a host and its receiver say to each other of a night: the hello, the report, and the receiver's part of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.printable import printable
from ebbtide_agent.shapes import decode, encode, field, maybe_moment, moment

COMPLETE = "complete"
WITH_WARNINGS = "complete-with-warnings"
PARTIAL = "partial"
FAILED = "failed"
SUSPECT = "suspect"
# From best to worst: who judges later may only move a night to the right.
STATUSES = (COMPLETE, WITH_WARNINGS, PARTIAL, FAILED, SUSPECT)

FAKE_SUPER = "fake-super"
REAL = "real"
# A tree's generation is drawn anew with every recorded push. As many bits as JSON's numbers hold everywhere.
GENERATION_BITS = 53

# What tells a machine from its copies, as far as it goes into a name.
MACHINE_DIGITS = 16
_MACHINE = re.compile(f"([0-9a-f]{{{MACHINE_DIGITS}}})?")

WELL = "well"
WARNING = "warning"
UNKNOWN = "unknown"
HEALTH_STATES = (WELL, WARNING, UNKNOWN)

# Whole numbers beyond it are not exact in every reader of JSON.
LARGEST = 1 << GENERATION_BITS
MOST_PROBLEMS = 50
LONGEST_PROBLEM = 500
# What became of a path is said behind it.
_ENDING = 150


@dataclass(frozen=True)
class Hello:
    """What the receiver answers to a hello: whose night it is, and the nonce that the report must bring back.

    `generation` names the tree as the last recorded push left it; none when something has touched it since. `now` is
    the receiver's time, if it says that. `machine` is which one it has heard, if any. `empty`: in its tree is nothing.
    """

    run: str
    host: str
    id: str
    nonce: str
    generation: int | None
    deadline: datetime
    tree: str = FAKE_SUPER
    now: datetime | None = None
    machine: str = ""
    empty: bool = False


@dataclass(frozen=True)
class ScriptResult:
    """One script of /etc/backupscripts, and the end of what it printed.

    `required`: without it the night is partial. `timed_out`: it was killed, and did not come to its end by itself.
    """

    name: str
    exit_code: int
    seconds: float
    output: str
    required: bool = True
    timed_out: bool = False


@dataclass(frozen=True)
class Health:
    """How a disk, an array or a file system of the host is, in its own words."""

    what: str
    state: str
    said: str


@dataclass(frozen=True)
class ArchivedManifest:
    """Where the manifest is in the archive, and what it amounts to.

    `content` is the digest of its entries alone: as long as nothing changes it is the same from run to run.
    """

    key: str
    sha256: str
    entries: int
    unhashed: int
    content: str = ""


@dataclass(frozen=True)
class Quota:
    """What a host may hold, and holds, in bytes as they are stored; and why nothing keeps it to that, if so."""

    most: int | None
    used: int | None
    why: str = ""


@dataclass(frozen=True)
class Received:
    """What the receiver saw for itself. No manifest when the night was not complete: a mixed tree proves nothing.

    `generation` names the tree as this push left it. `links` is the digest of its hard links, known with the manifest.
    """

    received: datetime
    exit_code: int | None
    seconds: float
    entries: int
    bytes: int
    generation: int
    tree: str
    manifest: ArchivedManifest | None
    links: str = ""
    quota: Quota | None = None


@dataclass(frozen=True)
class Report:
    """One host's night. `files` are regular files, `entries` everything; `receiver` is there once it was recorded.

    `machine` is which one this was, if it has anything to be told by.
    """

    run: str
    host: str
    id: str
    nonce: str
    status: str
    started: datetime
    finished: datetime
    exit_code: int
    files: int = 0
    entries: int = 0
    bytes_total: int = 0
    bytes_sent: int = 0
    scripts: tuple[ScriptResult, ...] = ()
    problems: tuple[str, ...] = ()
    agent: str = ""
    rsync: str = ""
    os: str = ""
    arch: str = ""
    machine: str = ""
    health: tuple[Health, ...] = ()
    receiver: Received | None = None

    @property
    def is_complete(self) -> bool:
        """Whether a restore point may come of it."""
        return self.status in (COMPLETE, WITH_WARNINGS)


def report_key(run: str, nonce: str, host_id: str) -> str:
    """Nobody can name it before the run is open, who would report first. A peer's night has no nonce: it has no archive
    that others write into."""
    return f"reports/{run}/{nonce}/hosts/{host_id}.json" if nonce else f"reports/{run}/{host_id}.json"


def manifest_key(host_id: str, run: str, nonce: str, number: int = 1) -> str:
    """Where the archive keeps a manifest; the first of a run has no number. A peer's has no nonce."""
    name = f"{run}/{nonce}" if nonce else run
    return f"manifests/{host_id}/{name}.jsonl.gz" if number == 1 else f"manifests/{host_id}/{name}.{number}.jsonl.gz"


def worst(*statuses: str) -> str:
    return max(statuses, key=STATUSES.index)


def bounded(problems: tuple[str, ...]) -> tuple[str, ...]:
    """A night can go wrong in ten thousand places; the report names the first fifty."""
    kept = tuple(_shortened(readable(problem)) for problem in problems[:MOST_PROBLEMS])
    left_out = len(problems) - len(kept)
    return (*kept[:-1], f"and {left_out + 1} more") if left_out else kept


def _shortened(line: str) -> str:
    """A line of what a report has room for; of a longer one its middle goes, which is the middle of a path."""
    if len(line) <= LONGEST_PROBLEM:
        return line
    return f"{line[: LONGEST_PROBLEM - _ENDING - 1]}…{line[-_ENDING:]}"


def bounded_health(found: Iterable[Health]) -> tuple[Health, ...]:
    """What is wrong before what is not, and of many things the first."""
    in_order = sorted(found, key=lambda health: health.state != WARNING)[:MOST_PROBLEMS]
    return tuple(Health(readable(each.what)[:200], each.state, readable(each.said)[:200]) for each in in_order)


def readable(text: str) -> str:
    """One line that moves nobody's cursor. A name that is no UTF-8 stands in it as halves of characters."""
    return printable(text.encode("utf-8", "backslashreplace"))


def encode_greeting(machine: str) -> bytes:
    """What a host says with its hello: which machine it is."""
    return encode({"machine": machine})


def parse_greeting(body: bytes) -> str:
    """An older agent says nothing. Raises PermanentError when it is something else."""
    what = "the host's hello"
    return _machine(what, decode(what, body)) if body else ""


def encode_hello(hello: Hello) -> bytes:
    now = None if hello.now is None else moments.write(hello.now)
    return encode({**asdict(hello), "deadline": moments.write(hello.deadline), "now": now})


def parse_hello(body: bytes) -> Hello:
    """Raises PermanentError when it is not an answer to a hello."""
    what = "the receiver's hello"
    values = decode(what, body)
    generation = values.get("generation")
    return Hello(
        **_texts(what, values, "run", "host", "id", "nonce", "tree"),
        generation=None if generation is None else _count(what, values, "generation"),
        deadline=moment(what, values, "deadline"),
        now=maybe_moment(what, values, "now"),
        machine=_machine(what, values),
        # An earlier receiver does not say it.
        empty=field(what, {"empty": False, **values}, "empty", bool),
    )


def encode_report(report: Report) -> bytes:
    """The report as JSON: without the receiver's part while there is none."""
    fields = asdict(report)
    fields.update(started=moments.write(report.started), finished=moments.write(report.finished))
    if report.receiver is None:
        del fields["receiver"]
    else:
        fields["receiver"]["received"] = moments.write(report.receiver.received)
    return encode(fields)


def parse_report(body: bytes) -> Report:
    """A host's report, or an archived one. Raises PermanentError when a field is missing or not what it should be."""
    what = "report"
    values = decode(what, body)
    status = field(what, values, "status", str)
    if status not in STATUSES:
        raise PermanentError(f"{what}: status is {status!r:.80}, expected one of {', '.join(STATUSES)}")
    return Report(
        **_texts(what, values, "run", "host", "id", "nonce", "agent", "rsync", "os", "arch"),
        status=status,
        started=moment(what, values, "started"),
        finished=moment(what, values, "finished"),
        exit_code=_count(what, values, "exit_code"),
        files=_count(what, values, "files"),
        entries=_count(what, values, "entries"),
        bytes_total=_count(what, values, "bytes_total"),
        bytes_sent=_count(what, values, "bytes_sent"),
        scripts=tuple(_script(script) for script in field(what, values, "scripts", list)),
        problems=tuple(str(problem) for problem in field(what, values, "problems", list)),
        machine=_machine(what, values),
        health=tuple(_health(health) for health in field(what, values, "health", list)) if "health" in values else (),
        receiver=_received(values["receiver"]) if values.get("receiver") is not None else None,
    )


def _script(values: Any) -> ScriptResult:
    what = "report: script"
    values = _object(what, values)
    return ScriptResult(
        **_texts(what, values, "name", "output"),
        exit_code=_count(what, values, "exit_code"),
        seconds=_real(what, values, "seconds"),
        required=bool(field(what, values, "required", bool)) if "required" in values else True,
        timed_out=bool(field(what, values, "timed_out", bool)) if "timed_out" in values else False,
    )


def _health(values: Any) -> Health:
    what = "report: health"
    health = Health(**_texts(what, _object(what, values), "what", "state", "said"))
    if health.state not in HEALTH_STATES:
        raise PermanentError(f"{what}: state is {health.state!r:.80}, expected one of {', '.join(HEALTH_STATES)}")
    return health


def _received(values: Any) -> Received:
    what = "report: receiver"
    values = _object(what, values)
    exit_code = values.get("exit_code")
    manifest = values.get("manifest")
    return Received(
        received=moment(what, values, "received"),
        exit_code=None if exit_code is None else _count(what, values, "exit_code"),
        seconds=_real(what, values, "seconds"),
        entries=_count(what, values, "entries"),
        bytes=_count(what, values, "bytes"),
        generation=_count(what, values, "generation"),
        tree=field(what, values, "tree", str),
        manifest=None if manifest is None else _manifest(manifest),
        links=field(what, values, "links", str) if "links" in values else "",
        quota=_quota(values["quota"]) if values.get("quota") is not None else None,
    )


def _quota(values: Any) -> Quota:
    what = "report: quota"
    values = _object(what, values)
    most, used = (None if values.get(name) is None else _count(what, values, name) for name in ("most", "used"))
    return Quota(most, used, field(what, values, "why", str))


def _manifest(values: Any) -> ArchivedManifest:
    what = "report: manifest"
    values = _object(what, values)
    return ArchivedManifest(
        **_texts(what, values, "key", "sha256"),
        entries=_count(what, values, "entries"),
        unhashed=_count(what, values, "unhashed"),
        content=field(what, values, "content", str) if "content" in values else "",
    )


def _object(what: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise PermanentError(f"{what} is {values!r:.80}, expected an object")
    return values


def _texts(what: str, values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: field(what, values, name, str) for name in names}


def _machine(what: str, values: Mapping[str, Any]) -> str:
    """Empty where nobody says it."""
    machine = str(field(what, {"machine": "", **values}, "machine", str))
    if not _MACHINE.fullmatch(machine):
        raise PermanentError(
            f"{what}: machine is {machine!r:.80}, expected {MACHINE_DIGITS} of 0-9 and a-f, or nothing"
        )
    return machine


def _count(what: str, values: Mapping[str, Any], name: str) -> int:
    count = int(field(what, values, name, int))
    if not 0 <= count <= LARGEST:
        raise PermanentError(f"{what}: {name} is {count!r:.80}, expected 0 or more, and at most {LARGEST}")
    return count


def _real(what: str, values: Mapping[str, Any], name: str) -> float:
    value = field(what, values, name, (int, float))
    if not -LARGEST <= value <= LARGEST:
        raise PermanentError(f"{what}: {name} is {value!r:.80}, expected a number of at most {LARGEST}")
    return float(value)
