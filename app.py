"""The doors: each trigger, one call.

How to read this program: a schedule ticks every five minutes and opens the runs that are due; every open run is
reconciled in an invocation of its own (`flows/reconcile.py` acts, `core/night.py` decides). The receiver's events and
EC2's only say that it is worth looking again, and so does the tick: whichever comes first, the same code does the same.
A host's report is recorded, no more: thousands come within minutes, and nothing follows from a single one.
When a run closes, `copy` sends its snapshot to the DR region and offers it to the vault, and `prune` applies retention;
a `drill`, a `restore` or an `open_host` opens a recovery, which is reconciled likewise. Every hour `sweep` removes what
outlived its run or recovery, and every noon `preflight` looks whether the next night has what it needs. Whatever ends
wakes `tell_operators`, which tells what is wrong and was not told yet; so does the tick, once an hour. Each step of a
recovery wakes `tell_progress`, which puts it on EventBridge for whoever follows it.

What will not work the second time either is logged and not raised by the doors that AWS would otherwise call again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.data_classes import EventBridgeEvent
from chalice.app import Chalice, CloudWatchEvent, Rate

from chalicelib import wire
from chalicelib.aws.metrics import emit
from chalicelib.core import measures
from chalicelib.errors import ConfigError, PermanentError, Refused, UnderWayError
from chalicelib.flows import wake
from chalicelib.flows.apply import apply_policy as apply_the_policy
from chalicelib.flows.begin_drills import begin_drills as begin_due_drills
from chalicelib.flows.close_recoveries import close_recoveries, find_closable
from chalicelib.flows.copy import copy_snapshots
from chalicelib.flows.cost import cost_of_a_month
from chalicelib.flows.forget import forget_host as forget_the_host
from chalicelib.flows.hold import Held
from chalicelib.flows.hold import hold as hold_snapshot
from chalicelib.flows.hold import release as release_snapshot
from chalicelib.flows.offer import offer_snapshots
from chalicelib.flows.open_recovery import open_drill, open_recovery, open_to_host
from chalicelib.flows.preflight import preflight as look_ahead
from chalicelib.flows.prune import prune as prune_snapshots
from chalicelib.flows.rebuild import rebuild as rebuild_catalogue
from chalicelib.flows.reconcile import Outcome, reconcile
from chalicelib.flows.recover import recover as recover_host
from chalicelib.flows.run_now import run_now as begin_run
from chalicelib.flows.sweep import sweep as sweep_resources
from chalicelib.flows.tell import tell as tell_what_is_wrong
from chalicelib.flows.tick import tick as tick_once
from chalicelib.wiring import new_nonce, the_time, the_world

Payload = Mapping[str, Any]

app = Chalice(app_name="ebbtide", configure_logs=False)
log = Logger(service="ebbtide")


# -- what happens by itself -------------------------------------------------------------------------------------------


@app.schedule(Rate(5, unit=Rate.MINUTES), name="tick")
def tick(event: CloudWatchEvent) -> None:
    ticked = tick_once(the_world(), the_time(), new_nonce)
    log.info("ticked", opened=_texts(ticked.opened), runs=_texts(ticked.runs), recoveries=_texts(ticked.recoveries))
    for fault in ticked.faults:
        log.error("passed over", why=fault)
    emit(measures.TICKED)


@app.schedule(Rate(1, unit=Rate.HOURS), name="sweep")
def sweep(event: CloudWatchEvent) -> None:
    swept = sweep_resources(the_world(), the_time())
    for fault in swept.faults:
        log.warning("could not be swept", why=fault)
    log.info("swept", removed={removal.id: removal.why for removal in swept.removed})


@app.lambda_function(name="preflight")
def preflight(event: Payload, context: Any) -> dict[str, Any]:
    """Once a day, by a schedule of the template, and for an operator who has mended something."""
    looked = look_ahead(the_world(), the_time())
    for trouble in looked.troubles:
        log.warning("found by day", kind=trouble.kind.value, what=trouble.what)
    return wire.looked(looked)


@app.lambda_function(name="reconcile_run")
def reconcile_run(event: Payload, context: Any) -> None:
    with final_faults_logged(event):
        tell(reconcile(wire.parse_run_payload(event), the_world(), the_time()))


@app.lambda_function(name="recover")
def recover(event: Payload, context: Any) -> dict[str, Any] | None:
    """By itself, and for an operator who waits for it: how it stands. None for what was given up, which is logged."""
    with final_faults_logged(event):
        outcome = recover_host(wire.parse_recovery_payload(event), the_world(), the_time())
        tell(outcome)
        return wire.standing(outcome.recovery, outcome.waiting, outcome.runs)
    return None


@app.lambda_function(name="copy")
def copy(event: Payload, context: Any) -> None:
    with final_faults_logged(event):
        offered = offer_snapshots(the_world(), the_time())
        for failure in offered.failed:
            log.warning("offer failed", snapshot=failure.snapshot_id, failures=failure.failures, why=failure.why)
        log.info("offered", snapshots=offered.snapshots)
    with final_faults_logged(event):
        copied = copy_snapshots(the_world(), the_time())
        for failure in copied.failed:
            log.warning("copy failed", snapshot=failure.snapshot_id, failures=failure.failures, why=failure.why)
        for why in copied.locked.failed:
            log.warning("lock failed", why=why)
        log.info("copied", asked=copied.asked, waiting=copied.waiting, locked=copied.locked.copies)


@app.on_cw_event({"source": [{"prefix": "ebbtide."}]}, name="on_report")
def on_report(event: CloudWatchEvent) -> None:
    report = EventBridgeEvent(event.to_dict())
    with final_faults_logged(report.detail):
        tell(wake.on_report(report.source, report.detail, the_world(), the_time()))


@app.on_cw_event(
    {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]}, name="on_instance_state"
)
def on_instance_state(event: CloudWatchEvent) -> None:
    detail = EventBridgeEvent(event.to_dict()).detail
    with final_faults_logged(detail):
        tell(wake.on_instance(wire.parse_instance_event(detail), the_world(), the_time()))


@app.on_cw_event({"source": ["aws.ec2"], "detail-type": ["EBS Snapshot Notification"]}, name="on_snapshot_state")
def on_snapshot_state(event: CloudWatchEvent) -> None:
    detail = EventBridgeEvent(event.to_dict()).detail
    with final_faults_logged(detail):
        tell(wake.on_snapshot(wire.parse_snapshot_event(detail), the_world(), the_time()))


@app.lambda_function(name="begin_drills")
def begin_drills(event: Payload, context: Any) -> None:
    with final_faults_logged(event):
        begun = begin_due_drills(the_world(), the_time())
        for why in begun.faults:
            log.warning("not drilled", why=why)
        log.info("drills begun", drills=_texts(begun.drills))


@app.lambda_function(name="tell_operators")
def tell_operators(event: Payload, context: Any) -> None:
    """Its own faults are raised, all of them: they end in the queue of dead letters, which CloudWatch watches."""
    telling = tell_what_is_wrong(the_world(), the_time())
    for subject in telling.sent:
        log.info("told", subject=subject)
    for unsent in telling.unsent:
        log.warning("not told", subject=unsent.subject, why=unsent.why)
    emit(measures.of_telling(telling.troubles, len(telling.sent), len(telling.unsent), telling.ages))


@app.lambda_function(name="tell_progress")
def tell_progress(event: Payload, context: Any) -> None:
    """Whoever listens to EventBridge, how far a recovery is."""
    with final_faults_logged(event):
        the_world().bus.send(wire.RECOVERY_PROGRESS, wire.parse_recovery_progress(event))


# -- what an operator asks for ----------------------------------------------------------------------------------------


@app.lambda_function(name="apply_policy")
def apply_policy(event: Payload, context: Any) -> dict[str, Any]:
    request = wire.parse_apply(event)
    try:
        result = apply_the_policy(request.text, request.expected, the_world(), the_time())
    except ConfigError as error:
        return wire.refused_policy(error.faults)
    return wire.applied(result.version, result.changes)


@app.lambda_function(name="run_now")
def run_now(event: Payload, context: Any) -> dict[str, Any]:
    return wire.run_payload(begin_run(wire.parse_receiver_name(event), the_world(), the_time(), new_nonce))


@app.lambda_function(name="drill")
def drill(event: Payload, context: Any) -> dict[str, Any]:
    request = wire.parse_recovery_request(event)
    return wire.recovery_payload(open_drill(request.host, the_world(), the_time()))


@app.lambda_function(name="restore")
def restore(event: Payload, context: Any) -> dict[str, Any]:
    request = wire.parse_recovery_request(event)
    return wire.standing(open_recovery(request, the_world(), the_time()))


@app.lambda_function(name="open_host")
def open_host(event: Payload, context: Any) -> dict[str, Any]:
    return wire.opening(*open_to_host(wire.parse_opening_request(event), the_world(), the_time()))


@app.lambda_function(name="close_host")
def close_host(event: Payload, context: Any) -> dict[str, Any]:
    """Of null, what could be closed."""
    of = wire.parse_closing(event)
    if of is None:
        return wire.all_standing(find_closable(the_world()))
    return wire.closing(close_recoveries(of, the_world(), the_time()))


@app.lambda_function(name="cost")
def cost(event: Payload, context: Any) -> dict[str, Any]:
    return wire.priced(*cost_of_a_month(the_world(), the_time()))


@app.lambda_function(name="prune")
def prune(event: Payload, context: Any) -> dict[str, Any]:
    """Of two at once one prunes: the other says so, and is none that failed."""
    request = wire.parse_prune(event)
    try:
        plan = prune_snapshots(the_world(), the_time(), request.dry_run, request.allow, context.aws_request_id)
    except UnderWayError as fault:
        log.info("not pruned", why=str(fault))
        return wire.not_pruned(str(fault))
    pruned = wire.pruned(plan)
    log.info("pruned", marked=pruned["marked"], deleted=pruned["deleted"], refused=pruned["refused"])
    emit(() if request.dry_run else measures.of_pruning(plan))
    return pruned


@app.lambda_function(name="hold")
def hold(event: Payload, context: Any) -> dict[str, Any]:
    request = wire.parse_hold(event)
    held = hold_snapshot(request.target, request.why, request.by, the_world(), the_time(), request.dry_run)
    return _told_of("held", held, request.dry_run)


@app.lambda_function(name="release")
def release(event: Payload, context: Any) -> dict[str, Any]:
    request = wire.parse_release(event)
    return _told_of("released", release_snapshot(request.target, the_world(), request.dry_run), request.dry_run)


@app.lambda_function(name="forget_host")
def forget_host(event: Payload, context: Any) -> dict[str, Any]:
    request = wire.parse_forget(event)
    forgotten = forget_the_host(request.host, request.by, the_world(), the_time(), request.dry_run)
    log.info("forgotten", dry_run=request.dry_run, host_id=forgotten.host_id, points=len(forgotten.points))
    return wire.forgot(forgotten.host_id, forgotten.points, forgotten.already)


@app.lambda_function(name="rebuild")
def rebuild(event: Payload, context: Any) -> dict[str, Any]:
    found = rebuild_catalogue(the_world())
    counts = {
        "runs": found.runs,
        "results": found.results,
        "points": found.points,
        "recoveries": found.recoveries,
    }
    return wire.rebuilt(found.policy, counts, found.faults)


# -- what is told -----------------------------------------------------------------------------------------------------


@contextmanager
def final_faults_logged(about: Payload) -> Iterator[None]:
    """Let what may work next time be tried again by the platform; log the rest, which would only fail again."""
    try:
        yield
    except (PermanentError, ConfigError, Refused):
        log.exception("gave up", about=about)


def tell(outcome: wake.Outcome | None) -> None:
    """One line for what was done, and one for every report that does not count, and for all that could not be told."""
    if outcome is None:
        return
    if isinstance(outcome, Outcome):
        for rejected in outcome.rejected:
            log.warning("report rejected", report=rejected.key, why=rejected.why)
        about = {"run": str(outcome.run.id), "state": outcome.run.state.value, "rejected": len(outcome.rejected)}
    else:
        for why in outcome.untold:
            log.warning("progress not told", why=why)
        about = {"recovery": str(outcome.recovery.id), "state": outcome.recovery.state.value}
    done = {"steps": outcome.steps, "waiting": outcome.waiting, "overtaken": outcome.overtaken}
    log.info("reconciled", extra={**about, **done})
    measure(outcome)


def measure(outcome: wake.Outcome) -> None:
    """What has ended just now, and only then: what is called again measures nothing again."""
    if isinstance(outcome, Outcome):
        if "CloseRun" in outcome.steps:
            emit(measures.of_run(outcome.run, the_world().catalog.find_results(outcome.run.id)))
        return
    if "RecordVerdict" in outcome.steps:
        emit(measures.of_verdict(outcome.recovery))
    if "CloseRecovery" in outcome.steps:
        emit(measures.of_recovery(outcome.recovery))


def _told_of(done: str, held: Held, dry_run: bool) -> dict[str, Any]:
    answer = wire.held(held.snapshot, held.before, held.after)
    log.info(done, dry_run=dry_run, snapshot=answer["snapshot"], before=answer["before"], after=answer["after"])
    return answer


def _texts(ids: tuple[object, ...]) -> list[str]:
    return [str(one) for one in ids]
