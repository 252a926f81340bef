"""How far a recovery has come: its steps, and what is known after each. One that fails leaves that standing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ebbtide_agent import instance, moments, procs, volume
from ebbtide_agent.cloud import Cloud, is_absent
from ebbtide_agent.errors import AgentError, DeniedError, PermanentError
from ebbtide_agent.manifest_file import read_manifest, sha256_of
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore import materialise
from ebbtide_agent.restore.boot_image import PATIENCE_SECONDS, WRITTEN, Boot, booted
from ebbtide_agent.restore.compare import MOST_FINDINGS, Comparison, shown
from ebbtide_agent.restore.comparing import NOTHING_COMPARED, Task, compared
from ebbtide_agent.restore.failed import failed_units
from ebbtide_agent.restore.inits import SYSTEMD, init_of, is_to_start
from ebbtide_agent.restore.layer import is_file, is_within
from ebbtide_agent.restore.probe import PATIENCE_SECONDS as ANSWERS_WITHIN_SECONDS
from ebbtide_agent.restore.probe import Answer, ask, probe
from ebbtide_agent.restore.recovery import (
    FAKE_SUPER,
    UNPROVEN,
    BootOutcome,
    Brief,
    RecoveryReport,
    Standing,
    Times,
    judge,
)
from ebbtide_agent.shapes import encode

# How long an image may take to start that nobody has another one of.
STANDING_PATIENCE_SECONDS = 900.0
# And to answer, before whoever waits for it is told where it stands: it is asked again after that.
TOLD_WITHIN_SECONDS = 30.0
_PAUSE_SECONDS = 5.0
# What the agent's own questions to the metadata service carry. Nobody in an image can mark what it sends: that needs
# CAP_NET_ADMIN or CAP_NET_RAW.
OUR_MARK = 0xEBB71DE
# Where EC2 gives this machine the credentials of its role, to whoever asks from here. A filter, not a route: a socket
# that is bound to the interface needs none. Refused and not dropped: what asks by habit need not wait for long. It
# replaces, at once, what was there before.
_FILTER = f"""
add table inet ebbtide
delete table inet ebbtide
add table inet ebbtide
add chain inet ebbtide out {{ type filter hook output priority 0; }}
add rule inet ebbtide out meta mark != {OUR_MARK} ip daddr 169.254.169.254 reject
add rule inet ebbtide out meta mark != {OUR_MARK} ip6 daddr fd00:ec2::254 reject
"""
# A clone has the original's queue and its applications, and these have the original's customers to write to.
_NO_MAIL = """
add rule inet ebbtide out oifname != "lo" tcp dport { 25, 465, 587 } reject
"""
# Its operator makes this file in the server once that has taken over: from its next start on its mail leaves.
_MAIL_LEAVES = Path("etc/ebbtide-mail-leaves")
_ANSWERED_BEFORE = "answered before the image was started, so that it is not known whether the image does"
NOT_TRIED = BootOutcome(is_up=False, why="it did not come to that", seconds=0.0)
NOT_REAL = Boot(None, "only root can make the tree real, and boot it", 0.0)


class Progress:
    """What is known so far. Whoever stands is compared in another thread than it is waited for."""

    def __init__(self, brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock) -> None:
        self._brief = brief
        self._paths = paths
        self._cloud = cloud
        self._now = now
        self._began = now()
        self._answered: datetime | None = None
        self._tree = paths.tree(brief.id)
        self._is_real = brief.tree != FAKE_SUPER
        self._munged = False
        self._expected: Path | None = None
        self._comparison, self._is_compared = NOTHING_COMPARED, False
        self._boot = NOT_TRIED
        self._answer: Answer | None = None
        self._answers_without_it = False
        self._failed: tuple[str, ...] = ()
        self._found: str | None = None
        self._timings: dict[str, float] = {}

    @property
    def brief(self) -> Brief:
        return self._brief

    def make_real(self) -> None:
        """The volume here, and the tree on it as it was; its manifest at hand, and known for the right one."""
        self._paths.run.mkdir(parents=True, exist_ok=True)
        with self._timed("mount"):
            device = self._paths.device(self._brief.volume)
            volume.mount(device, self._paths.volume, patience=instance.PATIENCE_SECONDS)
            volume.lift_limits(device, self._paths.volume)
        self._expected = self._fetch_manifest()
        if not self._is_real and materialise.is_allowed():
            with self._timed("materialise"):
                materialise.materialise(self._tree, self._munged)
            self._is_real = True

    def compare(self) -> None:
        with self._timed("compare"):
            self.take(compared(self.comparison()))
        self.archive_what_was_found()

    def comparison(self) -> Task:
        """What there is to compare."""
        return Task(
            tree=str(self._tree),
            host_id=self._brief.id,
            run=self._brief.run,
            kind="real" if self._is_real else FAKE_SUPER,
            munged=self._munged,
            expected=None if self._expected is None else str(self._expected),
            found=str(self._in_hand()),
        )

    def take(self, comparison: Comparison, seconds: float | None = None) -> None:
        """What a comparison has come to, and how long that took elsewhere."""
        if seconds is not None:
            self._timings["compare"] = seconds
        findings = (*self._comparison.findings, *comparison.findings)
        self._comparison, self._is_compared = replace(comparison, findings=findings[:MOST_FINDINGS]), True

    def archive_what_was_found(self) -> None:
        """Nothing, while nothing was compared."""
        if self._is_compared:
            key = self._brief.key("found.jsonl.gz")
            self._cloud.put_once(key, self._in_hand())
            self._found = key

    def judge(self) -> str:
        """The verdict on all that was done."""
        self._find_what_is_unproven()
        if self._boot.is_up and self._comparison.unseen is not None:
            self._remark(self._comparison.unseen)
        return judge(self._comparison, not self._is_real, self._boot.is_up, bool(self._answer and self._answer.ok))

    def fail(self, fault: Exception) -> str:
        """What kept it from coming to its end, added to the findings; the verdict."""
        self.find(f"could not finish: {type(fault).__name__}: {fault}")
        return "failed"

    def leave_unproven(self, fault: Exception) -> str:
        """What kept a server that stands from being compared, added to the findings; the verdict."""
        self.find(f"could not be compared: {type(fault).__name__}: {fault}")
        return UNPROVEN

    def find(self, finding: str) -> None:
        """Add what went wrong to the findings, the most important first."""
        findings = (_as_finding(finding), *self._comparison.findings)
        self._comparison = replace(self._comparison, findings=findings[:MOST_FINDINGS])

    def standing(self) -> Standing:
        """What can be said of it before it is compared."""
        return Standing(
            recovery=self._brief.recovery,
            host=self._brief.host,
            id=self._brief.id,
            boot=self._boot,
            probe=self._answer,
            failed=tuple(map(_as_finding, self._failed)),
            times=self._times(),
            since=self._now(),
        )

    def report(self, verdict: str) -> RecoveryReport:
        return RecoveryReport(
            recovery=self._brief.recovery,
            host=self._brief.host,
            id=self._brief.id,
            verdict=verdict,
            compared=self._comparison,
            boot=self._boot,
            probe=self._answer,
            found=self._found,
            times=self._times(),
            finished=self._now(),
        )

    def give_the_network_away(self) -> None:
        """The image gets this machine's network, and not its role: credentials are given to us alone from here on."""
        if self._is_real:
            self._cloud.ask_for_credentials_with(OUR_MARK)
            self.shut_ways_out()

    def shut_ways_out(self) -> None:
        """What may not leave for the network from here; of mail, whether it may, as its operator has said within."""
        rules = _FILTER if self._may_send_mail() else _FILTER + _NO_MAIL
        procs.check(["nft", "--file", "-"], feed=rules.encode(), timeout=60)

    @contextmanager
    def tried(self) -> Iterator[Boot]:
        """The image up, if it comes up, and asked."""
        self._tell("boot")
        self._answers_without_it = self._is_answered_already()
        with self.booted() as boot:
            self._boot = BootOutcome(boot.is_up, boot.why, boot.seconds)
            for failure in reversed(boot.failures):
                self.find(failure)
            self._timings["boot"] = boot.seconds
            if boot.leader is not None and self._brief.probe is not None:
                with self._timed("probe"):
                    self._answer = self._ask(self._brief.probe, boot.leader)
                if not self._answer.ok and init_of(self._tree) == SYSTEMD:
                    self._failed = failed_units(boot.leader)
            self._note_that_it_answered()
            yield boot

    def _ask(self, target: str, leader: int) -> Answer:
        if self._answers_without_it:
            return Answer(target, _ANSWERED_BEFORE, ok=False)
        return probe(target, leader, TOLD_WITHIN_SECONDS) if self._brief.stays else probe(target, leader)

    def _is_answered_already(self) -> bool:
        """Before it is started, on the network that it will share: by its machine, or where a name leads to."""
        return self._brief.stays and self._brief.probe is not None and ask(self._brief.probe).ok

    def go_on_asking(self, boot: Boot, compared: threading.Event) -> None:
        """What stands and has not answered: until it does or has ended, or it is `compared` and has had its time."""
        if self._answers_without_it:
            return
        target, leader, before = self._brief.probe, boot.leader, self._timings.get("probe", 0.0)
        started = time.monotonic()
        while target is not None and leader is not None and self._answered is None:
            took = before + time.monotonic() - started
            if not Path(f"/proc/{leader}").exists() or (compared.is_set() and took >= ANSWERS_WITHIN_SECONDS):
                return
            time.sleep(_PAUSE_SECONDS)
            answer = probe(target, leader, patience=0)
            if answer.ok:
                self._timings["probe"] = before + time.monotonic() - started
                self._answer = answer
                self._note_that_it_answered()

    @contextmanager
    def booted(self) -> Iterator[Boot]:
        """As it shall be: to be tried, or to stand."""
        if not self._is_real:
            yield NOT_REAL
            return
        stands = self._brief.stays
        patience = STANDING_PATIENCE_SECONDS if stands else PATIENCE_SECONDS
        with booted(self._tree, self._brief.name, patience, stands, self._brief.start) as boot:
            yield boot

    def _may_send_mail(self) -> bool:
        """By what was written there since it stands: what was backed up says so of the original."""
        written = self._tree.parent / WRITTEN
        return is_within(written, _MAIL_LEAVES.parent.as_posix()) and is_file(written / _MAIL_LEAVES)

    def _note_that_it_answered(self) -> None:
        """Nobody asks an image without a probe: it is enough that it is up."""
        if self._boot.is_up and (self._brief.probe is None or (self._answer is not None and self._answer.ok)):
            self._answered = self._now()

    def _times(self) -> Times:
        return Times(self._began, self._answered, dict(self._timings))

    def _fetch_manifest(self) -> Path | None:
        if self._brief.manifest is None:
            self.find("there is no manifest of this restore point: nothing to compare with")
            return None
        expected = self._paths.run / "expected.jsonl.gz"
        try:
            self._cloud.download(self._brief.manifest, expected)
        except (KeyError, DeniedError) as absent:
            raise PermanentError(f"{self._brief.manifest} {is_absent(absent)}") from None
        if self._brief.manifest_sha256 not in (None, sha256_of(expected)):
            raise PermanentError(f"{self._brief.manifest} is not what its report tells of: its digest is another")
        with open(expected, "rb") as file:
            header, _ = read_manifest(file)
        if (header.host, header.run) != (self._brief.id, self._brief.run):
            raise PermanentError(f"{self._brief.manifest} is of {header.host} in {header.run}")
        self._munged = header.munged
        return expected

    def _in_hand(self) -> Path:
        """What was found, as a manifest, before it is archived."""
        return self._paths.run / "found.jsonl.gz"

    def _find_what_is_unproven(self) -> None:
        """What keeps an identical tree from being proven is told with the verdict, not only in the report."""
        if not self._comparison.identical:
            return
        if self._comparison.unhashed:
            self.find(f"files that have no digest, so that their content is not compared: {self._comparison.unhashed}")
        if not self._is_real:
            return
        if self._brief.probe is None:
            if not self._boot.is_up and is_to_start(self._tree, self._brief.start):
                self.find(f"did not boot: {self._boot.why}")
        elif self._answer is None:
            self.find(f"{self._brief.probe}: not asked: {self._boot.why}")
        elif not self._answer.ok:
            for failure in reversed(self._failed):
                self.find(failure)
            self.find(f"{self._brief.probe}: {self._answer.answer}")

    def _remark(self, remark: str) -> None:
        """Add what nothing depends on behind the findings, if there is room: who shows one of them shows the first."""
        findings = (*self._comparison.findings, _as_finding(remark))
        self._comparison = replace(self._comparison, findings=findings[:MOST_FINDINGS])

    def _tell(self, step: str) -> None:
        """Which step begins, for who watches. No event: a drill's machine reaches nothing but the archive."""
        recovery = self._brief.recovery
        say(f"{recovery}: {step}")
        try:
            body = encode({"recovery": recovery, "step": step, "begun": moments.write(self._now())})
            self._cloud.put_once(self._brief.key(f"begun/{self._brief.attempt}/{step}.json"), body)
        except AgentError as fault:
            say(f"not told: {fault}")

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        self._tell(step)
        started = time.monotonic()
        try:
            yield
        finally:
            self._timings[step] = time.monotonic() - started


def _as_finding(text: str) -> str:
    """The same wherever it is told."""
    return shown(text.encode())


def say(line: str) -> None:
    print(f"ebbtide: {line}", flush=True)
