"""What a recovery's machine is told, and what it reports: the brief, the report, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.restore.compare import Comparison
from ebbtide_agent.restore.probe import Answer
from ebbtide_agent.shapes import decode, encode, field

FAKE_SUPER = "fake-super"
RESTORE = "restore"
UNPROVEN = "unproven"
# What an image was called before briefs had a name.
DEFAULT_NAME = "restored"


@dataclass(frozen=True)
class Brief:
    """What to recover, from which volume, and what to ask of it. Without a manifest nothing can be proved.

    `name` is what the image calls itself, `manifest_sha256` the manifest's digest as the night's report tells it. What
    `stays` is somebody's server again, until the machine is taken down; anything else is over once it has reported.
    `start` are commands for an image that has no init that we know, `attempt` says which of its machines this is.
    `nonce` stands in the keys of all that this machine says; an opening's, and one of an earlier version, has none.
    """

    recovery: str
    stays: bool
    host: str
    name: str
    id: str
    run: str
    volume: str
    tree: str
    manifest: str | None
    manifest_sha256: str | None
    probe: str | None
    start: tuple[str, ...] = ()
    attempt: int = 1
    nonce: str = ""

    def key(self, name: str) -> str:
        """Where in the archive this machine says what is called so."""
        return f"recoveries/{self.recovery}/{self.nonce}/{name}" if self.nonce else f"recoveries/{self.recovery}/{name}"


@dataclass(frozen=True)
class BootOutcome:
    """Whether the image came up; if not, why."""

    is_up: bool
    why: str | None
    seconds: float


@dataclass(frozen=True)
class Times:
    """When its machine knew what it is for, when its image had answered, if it did, and what each step took, in
    seconds."""

    began: datetime
    answered: datetime | None
    steps: Mapping[str, float]


@dataclass(frozen=True)
class Standing:
    """A restored server, before it is compared: whether it runs and answers, since when; and if it does not answer,
    what of it has failed."""

    recovery: str
    host: str
    id: str
    boot: BootOutcome
    probe: Answer | None
    failed: tuple[str, ...]
    times: Times
    since: datetime


@dataclass(frozen=True)
class RecoveryReport:
    """What came of it. `found` is the archive's key of everything that was found."""

    recovery: str
    host: str
    id: str
    verdict: str
    compared: Comparison
    boot: BootOutcome
    probe: Answer | None
    found: str | None
    times: Times
    finished: datetime


def parse_brief(body: bytes, attempt: int = 1) -> Brief:
    """Raises PermanentError when a field is missing."""
    what = "recovery brief"
    values = decode(what, body)
    texts = {name: field(what, values, name, str) for name in ("recovery", "host", "id", "run", "tree")}
    return Brief(
        stays=_perhaps(what, values, "kind") == RESTORE,
        name=_perhaps(what, values, "name") or DEFAULT_NAME,
        volume=field(what, field(what, values, "volume", dict), "id", str),
        manifest=_perhaps(what, values, "manifest"),
        manifest_sha256=_perhaps(what, values, "manifest_sha256"),
        probe=_perhaps(what, values, "probe"),
        start=_start(what, values),
        attempt=attempt,
        nonce=_perhaps(what, values, "nonce") or "",
        **texts,
    )


def _perhaps(what: str, values: Mapping[str, Any], name: str) -> str | None:
    return None if values.get(name) is None else str(field(what, values, name, str))


def _start(what: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    commands = field(what, {"start": [], **values}, "start", list)
    if not all(isinstance(command, str) for command in commands):
        raise PermanentError(f"{what}: start is {commands!r:.80}, which is not what it should be")
    return tuple(commands)


def encode_report(report: RecoveryReport) -> bytes:
    """The report as JSON."""
    compared = asdict(report.compared)
    findings = compared.pop("findings")
    del compared["unseen"]
    return encode(
        {
            "recovery": report.recovery,
            "host": report.host,
            "id": report.id,
            "verdict": report.verdict,
            "compared": compared,
            "findings": list(findings),
            **_how_it_runs(report.boot, report.probe, report.times),
            "found": report.found,
            "finished": moments.write(report.finished),
        }
    )


def encode_standing(standing: Standing) -> bytes:
    """The same of a server that stands and is not compared, as JSON."""
    return encode(
        {
            "recovery": standing.recovery,
            "host": standing.host,
            "id": standing.id,
            **_how_it_runs(standing.boot, standing.probe, standing.times),
            "failed": list(standing.failed),
            "since": moments.write(standing.since),
        }
    )


def _how_it_runs(boot: BootOutcome, answer: Answer | None, times: Times) -> dict[str, Any]:
    state = "booted" if boot.is_up else "not booted"
    return {
        "boot": {"state": state, "why": boot.why, "seconds": round(boot.seconds, 2)},
        "probe": None if answer is None else asdict(answer),
        "timings": {name: round(seconds, 2) for name, seconds in times.steps.items()},
        "began": moments.write(times.began),
        "answered": None if times.answered is None else moments.write(times.answered),
    }


def judge(comparison: Comparison, as_recorded: bool, is_up: bool, answered: bool) -> str:
    """The verdict on a comparison that was finished. `as_recorded`: no root, so owners and devices are only records."""
    if not comparison.identical:
        return "different"
    if comparison.unhashed or not comparison.entries:
        return UNPROVEN
    if as_recorded:
        return "as recorded"
    return "proven" if is_up and answered else "content only"
