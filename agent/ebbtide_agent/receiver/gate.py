"""The gate of a night: the only command that a host's key can start. It takes the host's tree, and reads none back."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from ebbtide_agent import moments, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import PermanentError, Refused, TransientError
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import GatePaths, MachinePaths
from ebbtide_agent.points import Offer, encode_offer
from ebbtide_agent.receiver import cgroups, confine
from ebbtide_agent.receiver.brief import BriefedHost, Run, parse_brief
from ebbtide_agent.receiver.heard import hear
from ebbtide_agent.receiver.lease import Session, find_session, leased, seated, write_session
from ebbtide_agent.receiver.ledger import Ledger, already
from ebbtide_agent.receiver.lost import have_compared, pushed_to
from ebbtide_agent.receiver.mail import Mail, Mailing
from ebbtide_agent.receiver.places import find_why_turned_away
from ebbtide_agent.receiver.quotas import find_quotas
from ebbtide_agent.receiver.status import read_status, write_status
from ebbtide_agent.receiver.verbs import HELLO, LIST, RSYNC, Asked
from ebbtide_agent.receiver.view import View
from ebbtide_agent.report import FAKE_SUPER, Hello, encode_hello, encode_report, parse_greeting, parse_report

LONGEST_REPORT_BYTES = 1 << 20
_LONGEST_GREETING_BYTES = 1 << 12
# An agent says its hello in one breath; who says nothing holds a process of ours.
GREETING_SECONDS = 60.0
# An answer finds room on its way at once. Who takes none holds up whoever waits for the end of the session.
ANSWER_SECONDS = 60.0
# What ends a session: the receiver, and a connection that is lost.
ENDING = (signal.SIGTERM, signal.SIGHUP)


def arrive(paths: MachinePaths, cloud: Cloud, host_id: str, clock: Clock) -> Gate:
    """The gate for the host whose key it was. Raises Refused when tonight's run does not expect it."""
    brief = parse_brief(paths.brief.read_bytes())
    archive = Mailing(cloud, Mail(paths.outbox))
    return Gate(paths, brief, brief.host(host_id), Ledger(paths, brief, archive, quotas=find_quotas(paths)), clock)


@dataclass(frozen=True)
class Gate:
    """One host at the door of one run."""

    paths: GatePaths
    brief: Run
    host: BriefedHost
    ledger: Ledger
    clock: Clock

    def answer(self, asked: Asked, inward: BinaryIO, outward: BinaryIO) -> int:
        """Do what was asked and return the exit code. Raises Refused, or TransientError beside other sessions."""
        self._check_volume()
        with seated(self.paths, self.host.id):
            return self._answer(asked, inward, outward)

    def _answer(self, asked: Asked, inward: BinaryIO, outward: BinaryIO) -> int:
        if asked.verb == LIST:
            # A key that was stolen must not read back the past.
            outward.write(encode_offer(Offer(self.host.name, self.host.id, until=self.brief.deadline)))
            return 0
        if asked.verb == HELLO:
            return self.take(introduced(asked, inward), inward, outward)
        with leased(self.paths, self.host.id):
            return self.take(asked, inward, outward)

    def take(self, asked: Asked, inward: BinaryIO, outward: BinaryIO) -> int:
        """A hello that is `introduced`; and what the host brings, for whoever holds its lease."""
        if asked.verb == HELLO:
            outward.write(encode_hello(self._hello(asked.machine)))
            return 0
        if asked.verb == RSYNC:
            return self._push(asked.machine)
        body = self._read_report(inward)
        # From here on nothing that the host or a release does may leave the record half made.
        ignore_signals()
        answer = self._record(body)
        with _taken_in_time():
            outward.write(answer)
            outward.flush()
        return 0

    def _check_volume(self) -> None:
        """Never write below a mount point that nothing is mounted on."""
        if self.paths.volume_owner.is_file():
            return
        if self.paths.closing.exists():
            # Through a connection that was there before: who comes by a new one finds nobody.
            raise TransientError(f"the receiver of run {self.brief.run} has let go of its volume")
        raise PermanentError("the receiver's volume is not there")

    def _check_open(self) -> None:
        # Who has no place is on record as that: it was no other machine that has reported.
        if why := find_why_turned_away(self.paths, self.host.id):
            raise Refused(why)
        if self.clock() >= self.brief.deadline:
            raise Refused(f"run {self.brief.run} is over")
        if self.paths.reported(self.host.id).exists():
            raise Refused(already(self.host, self.brief))
        if self.paths.closing.exists():
            # It was stopped before its time: another receiver of this run may come.
            raise TransientError(f"the receiver of run {self.brief.run} lets go of its volume")

    def _hear(self, machine: str) -> None:
        hear(self.paths, self.host, self.brief, machine, self.clock())

    def _hello(self, machine: str) -> Hello:
        self._check_open()
        self._hear(machine)
        status = read_status(self.paths.status(self.host.id))
        return Hello(
            run=self.brief.run,
            host=self.host.name,
            id=self.host.id,
            nonce=self.host.nonce,
            generation=status.generation if status.settled else None,
            deadline=self.brief.deadline,
            tree=FAKE_SUPER,
            now=self.clock(),
            machine=machine,
            empty=_is_empty(self.paths.tree(self.host.id)),
        )

    def _push(self, machine: str) -> int:
        """Run this host's rsync within its walls, and write down how it ended where the host cannot reach."""
        self._check_open()
        self._hear(machine)
        kind = self.paths.confinement.read_text().strip()
        # A tree that nothing can be written to stays what it was. rsync finds out and ends; turned away here, it would
        # come back all night.
        if not volume.has_turned_read_only(self.paths.host(self.host.id)):
            self._unsettle(munged=kind == confine.MUNGED)
        earlier = find_session(self.paths, self.host.id)
        spent = earlier.seconds if earlier else 0.0
        kills = cgroups.kills(self.host.id)
        write_session(self.paths, self.host.id, Session(None, spent, kills))
        view = View(self.host.uid, tree=self.paths.tree(self.host.id).resolve())
        started = time.monotonic()
        code = confine.serve(kind, view, self.paths.rsync_config(self.host.id))
        write_session(self.paths, self.host.id, Session(code, round(spent + time.monotonic() - started, 1), kills))
        return code

    def _unsettle(self, munged: bool) -> None:
        path = self.paths.status(self.host.id)
        known = read_status(path)
        boot = moments.up().start
        marked = have_compared(self.paths, self.host.id, known, boot)
        unsettled = replace(pushed_to(marked, boot, self.clock()), munged=munged)
        if unsettled == known:
            return
        try:
            write_status(path, unsettled)
        except OSError as error:
            # On a volume that takes no new file either, who writes to a tree of which nothing is known may stay unsaid.
            if error.errno != errno.ENOSPC or replace(unsettled, boot=known.boot, since=known.since) != known:
                raise

    def _read_report(self, inward: BinaryIO) -> bytes:
        body = inward.read(LONGEST_REPORT_BYTES + 1)
        if len(body) > LONGEST_REPORT_BYTES:
            raise Refused(f"a report has at most {LONGEST_REPORT_BYTES} bytes")
        return body

    def _record(self, body: bytes) -> bytes:
        report = parse_report(body)
        self._hear(report.machine)
        return encode_report(self.ledger.record(self.host, report, self.clock()))


def _is_empty(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def introduced(asked: Asked, inward: BinaryIO) -> Asked:
    """A hello with what it says of itself; anything else as it is. Raises TransientError when that takes too long."""
    if asked.verb != HELLO:
        return asked
    with _in_time():
        body = inward.read(_LONGEST_GREETING_BYTES + 1)
    if len(body) > _LONGEST_GREETING_BYTES:
        raise Refused(f"a hello has at most {_LONGEST_GREETING_BYTES} bytes")
    return replace(asked, machine=parse_greeting(body))


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def end(number: int, _: FrameType | None) -> None:
        raise TransientError(f"a hello that has not come to its end within {GREETING_SECONDS:.0f} s is not waited for")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, GREETING_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _taken_in_time() -> Iterator[None]:
    """What is told here is on record: if nobody takes it, an alarm that nobody handles ends us."""
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def ignore_signals() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
