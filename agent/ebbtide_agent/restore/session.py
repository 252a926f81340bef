"""A recovery machine's task: restore a host's tree, compare it, boot it, ask it, report, and power off.

What an operator wants back stays: it powers off only once the image has, or the machine's time is over.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ebbtide_agent import power, procs, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.entry import Header, read_real
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import read_fake
from ebbtide_agent.manifest_file import read_manifest, sha256_of, write_manifest
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore import materialise
from ebbtide_agent.restore.boot_image import PATIENCE_SECONDS, REBOOT, Boot, booted
from ebbtide_agent.restore.compare import Comparison, compare, shown
from ebbtide_agent.restore.probe import Answer, probe
from ebbtide_agent.restore.recovery import (
    FAKE_SUPER,
    BootOutcome,
    Brief,
    RecoveryReport,
    encode_report,
    judge,
)

# How long an image may take to start that nobody has another one of.
STANDING_PATIENCE_SECONDS = 900.0
# Where EC2 gives this machine the credentials of its role, to whoever asks from here. A filter, not a route: a socket
# that is bound to the interface needs none. Refused and not dropped: what asks by habit need not wait for long.
_NO_METADATA = b"""
add table inet ebbtide
add chain inet ebbtide out { type filter hook output priority 0; }
add rule inet ebbtide out ip daddr 169.254.169.254 reject
add rule inet ebbtide out ip6 daddr fd00:ec2::254 reject
"""
NOTHING_COMPARED = Comparison(0, 0, 0, 0, 0, ())
NOT_TRIED = BootOutcome(is_up=False, why="it did not come to that", seconds=0.0)
NOT_REAL = Boot(None, "only root can make the tree real, and boot it", 0.0)


@contextmanager
def powered_off(paths: MachinePaths) -> Iterator[None]:
    """Whatever becomes of the block: the volume is let go, and the machine goes off."""
    try:
        yield
    finally:
        try:
            volume.unmount(paths.volume)
        finally:
            power.off(paths.root)


def prove(brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock) -> None:
    """Recover and report; whatever goes wrong is in the report."""
    recovery = _Recovery(brief, paths, cloud)
    try:
        recovery.look()
        with recovery.tried():
            pass
        verdict = recovery.judge()
    except Exception as fault:  # noqa: BLE001 - this is the report on everything that can go wrong
        verdict = recovery.fail(fault)
    _deliver(recovery.report(verdict, now), cloud)


def stand(brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock) -> None:
    """Recover, report, and be that server until it is powered off from within; whatever goes wrong is in the report."""
    procs.stop_on(signal.SIGTERM)
    recovery = _Recovery(brief, paths, cloud)
    try:
        recovery.look()
        recovery.give_the_network_away()
        with recovery.tried() as boot:
            _deliver(recovery.report(recovery.judge(), now), cloud)
            wants_more = boot.is_up and boot.wait() == REBOOT
    except Exception as fault:  # noqa: BLE001 - this is the report on everything that can go wrong
        _deliver(recovery.report(recovery.fail(fault), now), cloud)
        return
    while wants_more:
        with recovery.booted() as boot:
            wants_more = boot.is_up and boot.wait() == REBOOT


def report_unopened(brief: Brief, paths: MachinePaths, fault: Exception, cloud: Cloud, now: Clock) -> None:
    """Report of an opening that did not come to be, or to its end: its machine may write none of what proves."""
    recovery = _Recovery(brief, paths, cloud)
    verdict = recovery.fail(fault)
    _deliver(recovery.report(verdict, now), cloud, "unopened.json")


def _deliver(report: RecoveryReport, cloud: Cloud, name: str = "report.json") -> None:
    _say(f"{report.recovery}: {report.verdict}")
    cloud.put_once(f"recoveries/{report.recovery}/{name}", encode_report(report))
    cloud.send_event("ebbtide.recovery", "Ebbtide Recovery Report", {"recovery": report.recovery})


class _Recovery:
    """What is known so far: each step adds to it, and a step that fails leaves it standing."""

    def __init__(self, brief: Brief, paths: MachinePaths, cloud: Cloud) -> None:
        self._brief = brief
        self._paths = paths
        self._cloud = cloud
        self._tree = paths.tree(brief.id)
        self._is_real = brief.tree != FAKE_SUPER
        self._munged = False
        self._comparison = NOTHING_COMPARED
        self._boot = NOT_TRIED
        self._answer: Answer | None = None
        self._found: str | None = None
        self._timings: dict[str, float] = {}

    def look(self) -> None:
        """Everything but the boot: the tree made real, and compared."""
        self._paths.run.mkdir(parents=True, exist_ok=True)
        with self._timed("mount"):
            device = self._paths.device(self._brief.volume)
            volume.mount(device, self._paths.volume)
            volume.lift_limits(device, self._paths.volume)
        expected = self._fetch_manifest()
        if not self._is_real and materialise.is_allowed():
            with self._timed("materialise"):
                materialise.materialise(self._tree, self._munged)
            self._is_real = True
        with self._timed("compare"):
            found = self._write_found()
            if expected is not None:
                self._comparison = _compared(expected, found)
        self._archive(found)

    def judge(self) -> str:
        """The verdict on all that was done."""
        self._find_what_is_unproven()
        return judge(self._comparison, not self._is_real, self._boot.is_up, bool(self._answer and self._answer.ok))

    def fail(self, fault: Exception) -> str:
        """What kept it from coming to its end, added to the findings; the verdict."""
        self.find(f"could not finish: {type(fault).__name__}: {fault}")
        return "failed"

    def find(self, finding: str) -> None:
        """Add what went wrong to the findings, the most important first."""
        findings = (shown(finding.encode()), *self._comparison.findings)
        self._comparison = replace(self._comparison, findings=findings[:50])

    def report(self, verdict: str, now: Clock) -> RecoveryReport:
        return RecoveryReport(
            recovery=self._brief.recovery,
            host=self._brief.host,
            id=self._brief.id,
            verdict=verdict,
            compared=self._comparison,
            boot=self._boot,
            probe=self._answer,
            found=self._found,
            timings=self._timings,
            finished=now(),
        )

    def _fetch_manifest(self) -> Path | None:
        if self._brief.manifest is None:
            self.find("there is no manifest of this restore point: nothing to compare with")
            return None
        expected = self._paths.run / "expected.jsonl.gz"
        self._cloud.download(self._brief.manifest, expected)
        if self._brief.manifest_sha256 not in (None, sha256_of(expected)):
            raise PermanentError(f"{self._brief.manifest} is not what its report tells of: its digest is another")
        with open(expected, "rb") as file:
            header, _ = read_manifest(file)
        if (header.host, header.run) != (self._brief.id, self._brief.run):
            raise PermanentError(f"{self._brief.manifest} is of {header.host} in {header.run}")
        self._munged = header.munged
        return expected

    def _write_found(self) -> Path:
        found = self._paths.run / "found.jsonl.gz"
        if self._is_real:
            header = Header(self._brief.id, self._brief.run, "real")
            entries = read_real(self._tree, lambda where, _: sha256_of(where))
        else:
            header = Header(self._brief.id, self._brief.run, FAKE_SUPER, self._munged)
            entries = read_fake(self._tree, self._munged, lambda where, _: sha256_of(where))
        write_manifest(found, header, entries)
        return found

    def _archive(self, found: Path) -> None:
        key = f"recoveries/{self._brief.recovery}/found.jsonl.gz"
        self._cloud.put_once(key, found)
        self._found = key

    def give_the_network_away(self) -> None:
        """The image gets this machine's network, and not its role: from here on nobody is given credentials."""
        if self._is_real:
            self._cloud.keep_credentials()
            procs.check(["nft", "--file", "-"], feed=_NO_METADATA, timeout=60)

    @contextmanager
    def tried(self) -> Iterator[Boot]:
        """The image up, if it comes up, and asked."""
        with self.booted() as boot:
            self._boot = BootOutcome(boot.is_up, boot.why, boot.seconds)
            self._timings["boot"] = boot.seconds
            if boot.leader is not None and self._brief.probe is not None:
                with self._timed("probe"):
                    self._answer = probe(self._brief.probe, boot.leader)
            yield boot

    @contextmanager
    def booted(self) -> Iterator[Boot]:
        """As it shall be: to be tried, or to stand."""
        if not self._is_real:
            yield NOT_REAL
            return
        stands = self._brief.stays
        patience = STANDING_PATIENCE_SECONDS if stands else PATIENCE_SECONDS
        with booted(self._tree, self._brief.name, patience, stands) as boot:
            yield boot

    def _find_what_is_unproven(self) -> None:
        """What keeps an identical tree from being proven is told with the verdict, not only in the report."""
        if not self._comparison.identical:
            return
        if self._comparison.unhashed:
            self.find(f"files that have no digest, so that their content is not compared: {self._comparison.unhashed}")
        if self._brief.probe is None or not self._is_real:
            return
        if self._answer is None:
            self.find(f"{self._brief.probe}: not asked: {self._boot.why}")
        elif not self._answer.ok:
            self.find(f"{self._brief.probe}: {self._answer.answer}")

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        _say(f"{self._brief.recovery}: {step}")
        started = time.monotonic()
        try:
            yield
        finally:
            self._timings[step] = time.monotonic() - started


def _compared(expected: Path, found: Path) -> Comparison:
    """What is compared is what is archived: both sides as manifests."""
    with open(expected, "rb") as before, open(found, "rb") as after:
        return compare(read_manifest(before)[1], read_manifest(after)[1])


def _say(line: str) -> None:
    print(f"ebbtide: {line}", flush=True)
