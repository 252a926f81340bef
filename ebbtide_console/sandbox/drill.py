"""A drill of one host in the sandbox, and the night's own judgement of what came out of it."""

from dataclasses import dataclass

from chalicelib import wire
from chalicelib.core.ids import parse_recovery
from chalicelib.core.model import Recovery
from chalicelib.core.verdicts import PROVEN
from ebbtide_console.sandbox.cloud import Cloud, Tell
from ebbtide_console.sandbox.enrol import Host
from ebbtide_console.sandbox.judge import judge
from ebbtide_console.sandbox.stack import Stack
from ebbtide_console.sandbox.table import seconds
from ebbtide_console.sandbox.waiting import wait_for

GOOD_VERDICTS = ("proven", "content only", "as recorded")


@dataclass(frozen=True)
class Drilled:
    """A drill that is over: what it found, what the night's own judge found, and how long the host took to be back."""

    verdict: str
    good: bool
    findings: tuple[str, ...]
    seconds: float


def drill(cloud: Cloud, stack: Stack, host: Host, tell: Tell) -> Drilled:
    """Have the host's newest point restored by this stack, and judge for ourselves what came out."""
    tell(f"{host.name}: drill: a volume from the snapshot, a machine without egress, the tree made real")
    recovery_id = parse_recovery(stack.invoke("drill", host=host.name)["recovery"])

    def over() -> Recovery | None:
        recovery = stack.world.catalog.get_recovery(recovery_id)
        return recovery if recovery.state.is_final else None

    recovery = wait_for(f"drill {recovery_id} to end", over)
    if recovery.verdict not in GOOD_VERDICTS:
        return _told(host, Drilled(str(recovery.verdict), False, recovery.findings, 0.0), tell)
    report = wire.parse_recovery_report(stack.world.archive.get(wire.recovery_report_key(recovery)))
    comparison = judge(host.source, str(report.found), stack.world.archive)
    took = (report.finished - recovery.opened).total_seconds()
    timings = ", ".join(f"{name} {seconds(value)}" for name, value in report.timings.items())
    boot = "booted" if report.boot.booted else f"not booted: {report.boot.why}"
    answered = f", {report.probe.target} said {report.probe.answer}" if report.probe else ""
    tell(f"{host.name}: {report.entries:,} entries, {boot}{answered} ({timings})")
    verdict = f"{recovery.verdict}, identical" if comparison.identical else "differs from the source"
    verdict += "" if report.boot.booted else ", not booted"
    good = comparison.identical and (recovery.verdict == PROVEN or not _must_be_proven(cloud, host))
    return _told(host, Drilled(verdict, good, comparison.findings, took), tell)


def _must_be_proven(cloud: Cloud, host: Host) -> bool:
    """A whole server that has a service to ask boots and answers, or its backup is not good."""
    return cloud.is_full and host.source.probe is not None


def _told(host: Host, drilled: Drilled, tell: Tell) -> Drilled:
    tell(f"{host.name}: drill: {drilled.verdict}")
    for finding in drilled.findings[:10]:
        tell(f"{host.name}:   {finding}")
    return drilled
