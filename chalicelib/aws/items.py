"""The catalogue's values as DynamoDB items, and back: every item carries our schema."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from chalicelib.core.advice import Kind
from chalicelib.core.ids import parse_recovery, parse_run
from chalicelib.core.model import (
    SCHEMA,
    Copying,
    CopyIntent,
    ExpectedHost,
    HostResult,
    HostStatus,
    Lease,
    Pruning,
    Recovery,
    RecoveryKind,
    RecoveryState,
    RestorePoint,
    Run,
    RunState,
    Times,
    TreeKind,
    Uncopied,
)
from chalicelib.core.naming import restored_name
from chalicelib.core.preflight import Preflight
from chalicelib.core.telling import Told
from chalicelib.core.trouble import Trouble
from chalicelib.fields import (
    Fields,
    checked,
    minutes_of,
    moment_text,
    read_disk,
    read_quota,
    read_step,
    read_times,
    read_ways,
    step_values,
    times_values,
)

Item = dict[str, Any]

_write = TypeSerializer()
_read = TypeDeserializer()


def item(pk: str, sk: str, values: Mapping[str, Any]) -> Item:
    """An item in DynamoDB's own typed form."""
    plain = {"pk": pk, "sk": sk, "schema": SCHEMA, **values}
    return {name: _write.serialize(value) for name, value in plain.items()}


def fields(found: Mapping[str, Any]) -> Fields:
    """An item as DynamoDB gave it, to be read field by field."""
    plain = {name: _read.deserialize(value) for name, value in found.items()}
    return checked(f"item {plain.get('pk')} {plain.get('sk')}", plain)


def _maybe(moment: datetime | None) -> str | None:
    return None if moment is None else moment_text(moment)


def run_values(run: Run) -> Item:
    return {
        "run": str(run.id),
        "policy": run.policy_version,
        "opened": moment_text(run.opened),
        "deadline": moment_text(run.deadline),
        "hosts": [{"name": host.name, "id": host.id, "nonce": host.nonce} for host in run.hosts],
        "state": run.state.value,
        "machine_attempt": run.machine_attempt,
        "machine_launched": _maybe(run.machine_launched),
        "full_zones": list(run.full_zones),
        "snapshot_intended": _maybe(run.snapshot_intended),
        "snapshot": run.snapshot_id,
        "closed": _maybe(run.closed),
        "why": run.why,
        "disk": asdict(run.disk) if run.disk else None,
        "growth_asked": _maybe(run.growth_asked),
        "aside": list(run.aside),
        "untagged": list(run.untagged),
        "nonce": run.nonce,
        "version": run.version,
    }


def read_run(found: Mapping[str, Any]) -> Run:
    values = fields(found)
    return Run(
        id=parse_run(values.text("run")),
        policy_version=values.text("policy"),
        opened=values.moment("opened"),
        deadline=values.moment("deadline"),
        hosts=tuple(
            ExpectedHost(host.text("name"), host.text("id"), host.text("nonce")) for host in values.parts("hosts")
        ),
        state=values.choice("state", RunState),
        machine_attempt=values.number("machine_attempt"),
        machine_launched=values.maybe_moment("machine_launched"),
        full_zones=values.texts("full_zones") if "full_zones" in values.values else (),
        snapshot_intended=values.maybe_moment("snapshot_intended"),
        snapshot_id=values.maybe_text("snapshot"),
        closed=values.maybe_moment("closed"),
        why=values.maybe_text("why"),
        disk=read_disk(values.maybe_part("disk")),
        growth_asked=values.maybe_moment("growth_asked"),
        aside=values.texts("aside") if "aside" in values.values else (),
        untagged=values.texts("untagged") if "untagged" in values.values else (),
        nonce=values.maybe_text("nonce") or "",
        version=values.number("version"),
    )


def result_values(result: HostResult) -> Item:
    return {
        "run": str(result.run),
        "name": result.name,
        "id": result.id,
        "status": result.status.value,
        "files": result.files,
        "bytes_sent": result.bytes_sent,
        "seconds": Decimal(str(result.seconds)),
        "tree": result.tree.value,
        "manifest": result.manifest,
        "problems": list(result.problems),
        "warnings": list(result.warnings),
        "quota": asdict(result.quota) if result.quota else None,
    }


def read_result(found: Mapping[str, Any]) -> HostResult:
    values = fields(found)
    return HostResult(
        run=parse_run(values.text("run")),
        name=values.text("name"),
        id=values.text("id"),
        status=values.choice("status", HostStatus),
        files=values.number("files"),
        bytes_sent=values.number("bytes_sent"),
        seconds=values.real("seconds"),
        tree=values.choice("tree", TreeKind),
        manifest=values.maybe_text("manifest"),
        problems=values.texts("problems"),
        warnings=values.texts("warnings") if "warnings" in values.values else (),
        quota=read_quota(values.maybe_part("quota")),
    )


def point_values(point: RestorePoint) -> Item:
    return {
        "host_id": point.host_id,
        "at": moment_text(point.at),
        "snapshot": point.snapshot_id,
        "run": str(point.run),
        "tree": point.tree.value,
        "manifest": point.manifest,
        "proven": _maybe(point.proven),
    }


def _point(values: Fields) -> RestorePoint:
    return RestorePoint(
        host_id=values.text("host_id"),
        at=values.moment("at"),
        snapshot_id=values.text("snapshot"),
        run=parse_run(values.text("run")),
        tree=values.choice("tree", TreeKind),
        manifest=values.maybe_text("manifest"),
        proven=values.maybe_moment("proven"),
    )


def read_point(found: Mapping[str, Any]) -> RestorePoint:
    return _point(fields(found))


def recovery_values(recovery: Recovery) -> Item:
    return {
        "recovery": str(recovery.id),
        "kind": recovery.kind.value,
        "host": recovery.host,
        "name": recovery.name,
        "point": point_values(recovery.point),
        "probe": recovery.probe,
        "policy": recovery.policy_version,
        "opened": moment_text(recovery.opened),
        "deadline": moment_text(recovery.deadline),
        "state": recovery.state.value,
        "verdict": recovery.verdict,
        "findings": list(recovery.findings),
        "machine": recovery.machine_id,
        "address": recovery.address,
        "ways": [{"port": way.port, "network": way.network} for way in recovery.ways],
        "start": list(recovery.start),
        "attempt": recovery.attempt,
        "launched": _maybe(recovery.launched),
        "zone": recovery.zone,
        "instance_type": recovery.instance_type,
        "lives_minutes": minutes_of(recovery.lives) if recovery.lives else None,
        "step": step_values(recovery.step),
        "times": _times(recovery.times),
        "ended_early": recovery.ended_early,
        "nonce": recovery.nonce,
        "closed": _maybe(recovery.closed),
        "version": recovery.version,
    }


def read_recovery(found: Mapping[str, Any]) -> Recovery:
    values = fields(found)
    recovery_id = parse_recovery(values.text("recovery"))
    return Recovery(
        id=recovery_id,
        kind=values.choice("kind", RecoveryKind),
        host=values.text("host"),
        name=values.maybe_text("name") or restored_name(recovery_id.host_id),
        point=_point(values.part("point")),
        probe=values.maybe_text("probe"),
        policy_version=values.maybe_text("policy"),
        opened=values.moment("opened"),
        deadline=values.moment("deadline"),
        state=values.choice("state", RecoveryState),
        verdict=values.maybe_text("verdict"),
        findings=values.texts("findings"),
        machine_id=values.maybe_text("machine"),
        address=values.maybe_text("address"),
        ways=read_ways(values),
        start=values.maybe_texts("start"),
        attempt=values.maybe_number("attempt") or 1,
        launched=values.maybe_moment("launched"),
        zone=values.maybe_text("zone"),
        instance_type=values.maybe_text("instance_type"),
        lives=values.maybe_minutes("lives_minutes"),
        step=read_step(values.maybe_part("step")),
        times=read_times(values.maybe_part("times")),
        ended_early=values.maybe_flag("ended_early"),
        nonce=values.maybe_text("nonce") or "",
        closed=values.maybe_moment("closed"),
        version=values.number("version"),
    )


def _times(times: Times | None) -> Item | None:
    """DynamoDB has no binary fractions."""
    if times is None:
        return None
    return {**times_values(times), "steps": {name: Decimal(str(took)) for name, took in times.steps.items()}}


def copy_intent_values(intent: CopyIntent) -> Item:
    return {
        "snapshot": intent.snapshot_id,
        "region": intent.region,
        "attempt": intent.attempt,
        "asked": moment_text(intent.asked),
        "why": intent.why,
        "version": intent.version,
    }


def read_copy_intent(found: Mapping[str, Any]) -> CopyIntent:
    values = fields(found)
    return CopyIntent(
        snapshot_id=values.text("snapshot"),
        region=values.text("region"),
        attempt=values.number("attempt"),
        asked=values.moment("asked"),
        why=values.maybe_text("why"),
        version=values.number("version"),
    )


def copying_values(copying: Copying) -> Item:
    return {
        "place": copying.place,
        "seen": moment_text(copying.seen),
        "uncopied": [
            {
                "snapshot": each.snapshot_id,
                "run": each.run,
                "since": moment_text(each.since),
                "failures": each.failures,
                "why": each.why,
            }
            for each in copying.uncopied
        ],
        "blind": copying.blind,
        "unlocked": list(copying.unlocked),
        "unlocked_since": _maybe(copying.unlocked_since),
        "version": copying.version,
    }


def read_copying(found: Mapping[str, Any]) -> Copying:
    values = fields(found)
    return Copying(
        place=values.text("place"),
        seen=values.moment("seen"),
        uncopied=tuple(
            Uncopied(
                snapshot_id=each.text("snapshot"),
                run=each.text("run"),
                since=each.moment("since"),
                failures=each.number("failures"),
                why=each.maybe_text("why"),
            )
            for each in values.parts("uncopied")
        ),
        blind=values.maybe_text("blind"),
        unlocked=values.texts("unlocked") if "unlocked" in values.values else (),
        unlocked_since=values.maybe_moment("unlocked_since"),
        version=values.number("version"),
    )


def lease_values(lease: Lease) -> Item:
    return {
        "name": lease.name,
        "until": moment_text(lease.until),
        "holder": lease.holder,
        "version": lease.version,
    }


def read_lease(found: Mapping[str, Any]) -> Lease:
    values = fields(found)
    return Lease(
        name=values.text("name"),
        until=values.moment("until"),
        holder=values.maybe_text("holder"),
        version=values.number("version"),
    )


def pruning_values(pruning: Pruning) -> Item:
    missed = {"gone": list(pruning.gone), "missed": moment_text(pruning.missed)} if pruning.missed else {}
    return {"pruned": moment_text(pruning.at), "refused": pruning.refused, **missed}


def read_pruning(found: Mapping[str, Any]) -> Pruning:
    values = fields(found)
    missed = values.maybe_moment("missed")
    gone = values.texts("gone") if missed else ()
    return Pruning(values.moment("pruned"), values.maybe_text("refused"), gone, missed)


def preflight_values(preflight: Preflight) -> Item:
    return {"looked": moment_text(preflight.at), "troubles": [_trouble_values(each) for each in preflight.troubles]}


def _trouble_values(trouble: Trouble) -> Item:
    return {
        "about": trouble.about,
        "kind": trouble.kind.value,
        "name": trouble.name,
        "what": trouble.what,
        "since": moment_text(trouble.since),
        "occurrence": trouble.occurrence,
        "details": list(trouble.details),
    }


def read_preflight(found: Mapping[str, Any]) -> Preflight:
    values = fields(found)
    return Preflight(values.moment("looked"), tuple(map(_trouble, values.parts("troubles"))))


def _trouble(values: Fields) -> Trouble:
    return Trouble(
        about=values.text("about"),
        kind=values.choice("kind", Kind),
        name=values.text("name"),
        what=values.text("what"),
        since=values.moment("since"),
        occurrence=values.text("occurrence"),
        details=values.texts("details"),
    )


def told_values(told: Told) -> Item:
    return {
        "about": told.about,
        "occurrence": told.occurrence,
        "name": told.name,
        "what": told.what,
        "is_well": told.is_well,
        "since": moment_text(told.since),
        "claimed": moment_text(told.claimed),
        "told": _maybe(told.told),
        "version": told.version,
    }


def read_told(found: Mapping[str, Any]) -> Told:
    values = fields(found)
    return Told(
        about=values.text("about"),
        occurrence=values.text("occurrence"),
        name=values.text("name"),
        what=values.text("what"),
        is_well=values.flag("is_well"),
        since=values.moment("since"),
        claimed=values.moment("claimed"),
        told=values.maybe_moment("told"),
        version=values.number("version"),
    )
