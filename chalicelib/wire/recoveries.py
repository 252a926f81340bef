"""A recovery: what its machine is told, what it found, how it closed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from chalicelib.core.ids import checked_host_id, host_uid, parse_recovery, parse_run
from chalicelib.core.model import (
    SCHEMA,
    Boot,
    ProbeAnswer,
    Recovery,
    RecoveryId,
    RecoveryKind,
    RecoveryReport,
    RecoveryState,
    RestoredServer,
    RestorePoint,
    Step,
    Times,
    TreeKind,
    Way,
)
from chalicelib.core.naming import restored_name
from chalicelib.core.steps import LAUNCH, SAID_BY_MACHINES, came_up, told_step
from chalicelib.errors import PermanentError
from chalicelib.fields import (
    Fields,
    checked,
    minutes_of,
    moment_text,
    read,
    read_times,
    read_ways,
    times_values,
    written,
)
from chalicelib.wire.shared import as_line, bounded, owner_of

RECOVERIES = "recoveries/"
_ASKED = re.compile(r"recoveries/[a-z0-9]{4}/[0-9-]{10}/[0-9]+/(asked|brief)\.json")
_OF_ONE = re.compile(r"recoveries/(?P<id>[a-z0-9]{4}/[0-9-]{10}/[1-9][0-9]{0,8})/.+")
_BRIEF = re.compile(r"recoveries(?:/[^/]+){3}/(?:(?P<nonce>[0-9a-f]{32})/)?(?:(?P<attempt>[2-9])/)?brief\.json")
# No machine may write there.
_CHANGED_WAYS = re.compile(r"recoveries(?:/[^/]+){3}/ways-\d{6}\.json")


def recoveries_prefix(host_id: str, day: date) -> str:
    return f"{RECOVERIES}{host_id}/{day.isoformat()}/"


def recovery_prefix(recovery: RecoveryId) -> str:
    return f"{RECOVERIES}{recovery}/"


def recovery_of_key(key: str) -> RecoveryId:
    """The recovery an archive key belongs to. Raises PermanentError."""
    return parse_recovery(owner_of(key))


def recoveries_among(keys: Iterable[str]) -> list[RecoveryId]:
    """Of each key the recovery that it belongs to. Machines may write below every name there, also of none."""
    return [parse_recovery(match["id"]) for key in keys if (match := _OF_ONE.fullmatch(key))]


def recovery_asked_key(recovery: RecoveryId) -> str:
    """What was asked for: the first word of a recovery, before anything is launched."""
    return f"recoveries/{recovery}/asked.json"


def closed_among(keys: Iterable[str]) -> list[RecoveryId]:
    """The recoveries that are known as closed. Machines write beside that, also below names that are those of none."""
    return [recovery for key in keys if (recovery := _closed_by(key)) is not None]


def _closed_by(key: str) -> RecoveryId | None:
    try:
        recovery = recovery_of_key(key)
    except PermanentError:
        return None
    return recovery if key == recovery_closed_key(recovery) else None


def asked_among(keys: Iterable[str]) -> list[str]:
    """The keys by which a recovery is known. Beside them machines write, also of recoveries that there never were."""
    return [key for key in keys if _ASKED.fullmatch(key)]


def recovery_words_prefix(recovery: Recovery) -> str:
    """Of what its latest machine is told and says: that one alone knows the nonce, and where it is told what it is
    for. Without one all machines of the recovery share a place, which anybody can name."""
    return f"recoveries/{recovery.id}/{recovery.nonce}/" if recovery.nonce else recovery_prefix(recovery.id)


def recovery_brief_key(recovery: Recovery) -> str:
    """What its machine is told: another one has another volume, and a brief is written but once."""
    attempt = f"{recovery.attempt}/" if recovery.attempt > 1 else ""
    return f"{recovery_words_prefix(recovery)}{attempt}brief.json"


def recovery_first_brief_key(recovery: RecoveryId) -> str:
    """What the first machine was told of one that has no nonce."""
    return f"recoveries/{recovery}/brief.json"


def latest_brief_among(keys: Iterable[str]) -> tuple[int, str] | None:
    """Which of its machines was briefed last, and its nonce, by the keys of a recovery: no machine writes a brief."""
    briefs = (brief for key in keys if (brief := _BRIEF.fullmatch(key)))
    return max(((int(brief["attempt"] or 1), brief["nonce"] or "") for brief in briefs), default=None)


def recovery_begun_key(recovery: Recovery) -> str:
    """Its machine is up and knows what it is for: that this object is there says so."""
    return f"{recovery_words_prefix(recovery)}begun/{recovery.attempt}.json"


def recovery_step_key(recovery: Recovery, step: str) -> str:
    """Its machine begins a step. What stands is compared beside it, and has no word for that."""
    return f"{recovery_words_prefix(recovery)}begun/{recovery.attempt}/{step}.json"


def parse_step(body: bytes) -> Step:
    """A step that a machine begins, in its own words. Raises PermanentError."""
    fields = read("step of a recovery", body)
    return Step(fields.text("step"), fields.moment("begun"))


def recovery_report_key(recovery: Recovery) -> str:
    return f"{recovery_words_prefix(recovery)}report.json"


def recovery_found_key(recovery: Recovery) -> str:
    """All that was found, as a manifest."""
    return f"{recovery_words_prefix(recovery)}found.jsonl.gz"


def recovery_standing_key(recovery: Recovery) -> str:
    """A restored server, before it is compared."""
    return f"{recovery_words_prefix(recovery)}standing.json"


def recovery_off_key(recovery: Recovery) -> str:
    """A restored server has ended before it was compared: that this object is there says so."""
    return f"{recovery_words_prefix(recovery)}off.json"


def recovery_closed_key(recovery: RecoveryId) -> str:
    return f"recoveries/{recovery}/closed.json"


def recovery_opened_key(recovery: RecoveryId) -> str:
    """Its machine serves: that this object is there says so."""
    return f"recoveries/{recovery}/opened.json"


def recovery_unopened_key(recovery: RecoveryId) -> str:
    """Why its machine does not serve, as a report: never where one that proves is, which its role may not write."""
    return f"recoveries/{recovery}/unopened.json"


def recovery_ways_key(recovery: RecoveryId, number: int) -> str:
    """Its ways in were changed, or its end: the first time, the second."""
    return f"recoveries/{recovery}/ways-{number:06}.json"


def own_recovery_keys(recovery: Recovery) -> list[str]:
    """Whatever there may be below `recovery_words_prefix`, but for changes of its ways."""
    of_all = (recovery_standing_key, recovery_off_key, recovery_report_key, recovery_found_key)
    of_openings = (recovery_opened_key, recovery_unopened_key)
    keys = [key(recovery) for key in of_all]
    if not recovery.nonce:
        keys += [key(recovery.id) for key in (recovery_asked_key, *of_openings, recovery_closed_key)]
    for attempt in range(1, recovery.attempt + 1):
        machine = replace(recovery, attempt=attempt)
        keys += [recovery_brief_key(machine), recovery_begun_key(machine)]
        keys += [recovery_step_key(machine, step) for step in SAID_BY_MACHINES]
    return keys


def ways_among(keys: Iterable[str]) -> list[str]:
    """The keys of such changes, the last one last."""
    return sorted(key for key in keys if _CHANGED_WAYS.fullmatch(key))


def recovery_ways_record(ways: Iterable[Way], deadline: datetime) -> bytes:
    return written({"ways": _ways(ways), "deadline": moment_text(deadline)})


def parse_recovery_ways(body: bytes) -> tuple[tuple[Way, ...], datetime | None]:
    """And its end; an earlier version did not say that."""
    fields = read("changed ways", body)
    return read_ways(fields), fields.maybe_moment("deadline")


def _ways(ways: Iterable[Way]) -> list[dict[str, Any]]:
    return [{"port": way.port, "network": way.network} for way in ways]


def parse_opened(body: bytes) -> str | None:
    """The machine's public host key, for who has not pinned it; an older machine does not tell."""
    return read("opened recovery", body).maybe_text("host_key")


@dataclass(frozen=True)
class Serving:
    """How the machine of an opening is what its host knows: who may log in, with which key it answers, and what file
    system the tree is on."""

    keys: tuple[str, ...]
    host_key_parameter: str
    filesystem: str


def recovery_asked(recovery: Recovery) -> bytes:
    """All that `rebuild` needs to know of a recovery that has no machine yet."""
    return written(_asked(recovery))


def recovery_brief(
    recovery: Recovery, volume_id: str, serving: Serving | None = None, manifest_sha256: str | None = None
) -> bytes:
    """What was asked for, and what a recovery's machine has to know besides."""
    return written(
        {
            **_asked(recovery),
            "volume": {"id": volume_id},
            **({"manifest_sha256": manifest_sha256} if manifest_sha256 else {}),
            **({"serve": _serve(recovery, serving)} if serving else {}),
        }
    )


def _asked(recovery: Recovery) -> dict[str, Any]:
    return {
        "recovery": str(recovery.id),
        "kind": recovery.kind.value,
        "host": recovery.host,
        "name": recovery.name,
        "id": recovery.id.host_id,
        "run": str(recovery.point.run),
        "snapshot": recovery.point.snapshot_id,
        "at": moment_text(recovery.point.at),
        "tree": recovery.point.tree.value,
        "manifest": recovery.point.manifest,
        "probe": recovery.probe,
        "policy": recovery.policy_version,
        "opened": moment_text(recovery.opened),
        "deadline": moment_text(recovery.deadline),
        **({"ways": _ways(recovery.ways)} if recovery.ways else {}),
        **({"start": list(recovery.start)} if recovery.start else {}),
        **({"lives_minutes": minutes_of(recovery.lives)} if recovery.lives else {}),
        **({"nonce": recovery.nonce} if recovery.nonce else {}),
    }


def _serve(recovery: Recovery, serving: Serving) -> dict[str, Any]:
    """Login, uid and host key are those of the host's receiver by night."""
    return {
        "keys": list(serving.keys),
        "uid": host_uid(recovery.id.host_id),
        "until": moment_text(recovery.deadline),
        "host_key_parameter": serving.host_key_parameter,
        "filesystem": serving.filesystem,
    }


def parse_recovery_asked(body: bytes) -> Recovery:
    """The recovery as it was when it was asked for."""
    return _read_asked(read("asked recovery", body))


def parse_recovery_brief(body: bytes) -> Recovery:
    """The recovery as it was when it was briefed."""
    return _read_asked(read("recovery brief", body))


def _read_asked(fields: Fields) -> Recovery:
    recovery_id = parse_recovery(fields.text("recovery"))
    return Recovery(
        id=recovery_id,
        kind=fields.choice("kind", RecoveryKind),
        host=fields.text("host"),
        name=fields.maybe_text("name") or restored_name(recovery_id.host_id),
        point=RestorePoint(
            host_id=recovery_id.host_id,
            at=fields.moment("at"),
            snapshot_id=fields.text("snapshot"),
            run=parse_run(fields.text("run")),
            tree=fields.choice("tree", TreeKind),
            manifest=fields.maybe_text("manifest"),
        ),
        probe=fields.maybe_text("probe"),
        policy_version=fields.maybe_text("policy"),
        opened=fields.moment("opened"),
        deadline=fields.moment("deadline"),
        step=Step(LAUNCH, fields.moment("opened")),
        ways=read_ways(fields),
        start=fields.maybe_texts("start"),
        lives=fields.maybe_minutes("lives_minutes"),
        nonce=fields.maybe_text("nonce") or "",
    )


def parse_recovery_report(body: bytes) -> RecoveryReport:
    fields = read("recovery report", body)
    compared = fields.part("compared")
    return RecoveryReport(
        recovery=parse_recovery(fields.text("recovery")),
        host_id=checked_host_id(fields.text("id")),
        verdict=fields.text("verdict"),
        entries=compared.number("entries"),
        missing=compared.number("missing"),
        extra=compared.number("extra"),
        different=compared.number("different"),
        unhashed=compared.number("unhashed"),
        findings=bounded(fields.texts("findings")),
        boot=_boot(fields),
        probe=_answer(fields),
        found=fields.maybe_text("found"),
        timings=_timings(fields),
        finished=fields.moment("finished"),
        began=fields.maybe_moment("began"),
        answered=fields.maybe_moment("answered"),
    )


def parse_restored_server(body: bytes) -> RestoredServer:
    fields = read("restored server", body)
    return RestoredServer(
        recovery=parse_recovery(fields.text("recovery")),
        host_id=checked_host_id(fields.text("id")),
        boot=_boot(fields),
        probe=_answer(fields),
        timings=_timings(fields),
        since=fields.moment("since"),
        began=fields.maybe_moment("began"),
        answered=fields.maybe_moment("answered"),
        failed=bounded(fields.maybe_texts("failed")),
    )


def _boot(fields: Fields) -> Boot:
    boot = fields.part("boot")
    why = boot.maybe_text("why")
    return Boot(boot.text("state") == "booted", why and as_line(why), boot.real("seconds"))


def _answer(fields: Fields) -> ProbeAnswer | None:
    probe = fields.maybe_part("probe")
    return ProbeAnswer(probe.text("target"), as_line(probe.text("answer")), probe.flag("ok")) if probe else None


def _timings(fields: Fields) -> dict[str, float]:
    timings = fields.part("timings")
    return {name: timings.real(name) for name in timings.values}


# What an event of such a detail is called on the bus.
RECOVERY_PROGRESS = "Ebbtide Recovery Progress"


def recovery_progress(recovery: Recovery) -> dict[str, Any]:
    """For whoever follows it: how far it is and since when, whether and where it stands, what came of it, and by the
    catalogue's version which of two is the later. The same is the same."""
    step = recovery.step
    return {
        "schema": SCHEMA,
        "recovery": str(recovery.id),
        "kind": recovery.kind.value,
        "host": recovery.host,
        "id": recovery.id.host_id,
        "version": recovery.version,
        "attempt": recovery.attempt,
        "step": told_step(step.name) if step else None,
        "since": moment_text(step.since) if step else None,
        "came_up": came_up(recovery),
        "address": recovery.address,
        "verdict": recovery.verdict,
        "state": recovery.state.value,
    }


def parse_recovery_progress(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The detail of the event. Raises PermanentError for what is none."""
    parse_recovery(checked("payload", payload).text("recovery"))
    return payload


@dataclass(frozen=True)
class ClosedRecovery:
    """How a recovery ended, as the archive keeps it."""

    recovery: RecoveryId
    state: RecoveryState
    verdict: str | None
    findings: tuple[str, ...]
    machine_id: str | None
    closed: datetime
    times: Times | None = None
    ended_early: bool = False


def closed_recovery_record(closed: ClosedRecovery) -> bytes:
    return written(
        {
            "recovery": str(closed.recovery),
            "state": closed.state.value,
            "verdict": closed.verdict,
            "findings": list(closed.findings),
            "machine": closed.machine_id,
            "closed": moment_text(closed.closed),
            **({"times": times_values(closed.times)} if closed.times else {}),
            **({"ended_early": True} if closed.ended_early else {}),
        }
    )


def parse_closed_recovery(body: bytes) -> ClosedRecovery:
    fields = read("closed recovery", body)
    return ClosedRecovery(
        recovery=parse_recovery(fields.text("recovery")),
        state=fields.choice("state", RecoveryState),
        verdict=fields.maybe_text("verdict"),
        findings=fields.texts("findings"),
        machine_id=fields.maybe_text("machine"),
        closed=fields.moment("closed"),
        times=read_times(fields.maybe_part("times")),
        ended_early=fields.maybe_flag("ended_early"),
    )
