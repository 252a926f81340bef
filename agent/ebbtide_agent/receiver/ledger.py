"""A report becomes a record: the tree made durable, the manifest written, the archive, and only then the event."""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
from ebbtide_agent.errors import AgentError, PermanentError, Refused
from ebbtide_agent.manifest import Before, ManifestSummary, Unreadable
from ebbtide_agent.manifest_file import LARGEST
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver import cgroups
from ebbtide_agent.receiver.archive import Archive
from ebbtide_agent.receiver.baseline import keep_manifest
from ebbtide_agent.receiver.brief import BriefedHost, Run
from ebbtide_agent.receiver.durable import find_why_lost, keep_why_lost, write_all
from ebbtide_agent.receiver.guard import guarded
from ebbtide_agent.receiver.heard import find_heard
from ebbtide_agent.receiver.history import remembered
from ebbtide_agent.receiver.judge import (
    FILE_IO,
    check_identity,
    check_seen,
    cut_off,
    explained,
    judged,
    lost,
    says_full,
    turned_away,
    without_room,
)
from ebbtide_agent.receiver.lease import Session, find_session
from ebbtide_agent.receiver.mending import take_off_lost_notes
from ebbtide_agent.receiver.quotas import Quotas
from ebbtide_agent.receiver.status import Status, read_status, write_status
from ebbtide_agent.report import (
    FAKE_SUPER,
    GENERATION_BITS,
    PARTIAL,
    ArchivedManifest,
    Quota,
    Received,
    Report,
    bounded,
    encode_report,
    manifest_key,
    parse_report,
    report_key,
)

# A run may be pushed and reported again after a crash between manifest and report: the first manifest stays, unused.
MOST_MANIFESTS = 20
# No quota counts a manifest, and what a host pushes is what it says. A hundred bytes an entry are a hundredth of a
# volume that has an inode for each 16 KiB.
LARGEST_PART = 32


@dataclass(frozen=True)
class Ledger:
    """Where a receiver writes its night down."""

    paths: GatePaths
    brief: Run
    archive: Archive
    quotas: Quotas = field(default_factory=Quotas)

    def record(self, host: BriefedHost, report: Report, now: datetime) -> Report:
        """Record a host's report and return it as recorded. The same again returns what was recorded first.

        Raises Refused when it is not this host's report of this run, or another one is recorded, and Unseen when there
        was no push on this machine that it could be of.
        """
        check_identity(report, host, self.brief)
        recorded = self.find(host)
        if recorded is None:
            check_seen(report, find_session(self.paths, host.id))
            recorded = self._make_record(host, report, now)
        # Whoever put it there may have been killed before it could say so.
        self._take_no_more(host, recorded)
        if recorded.started != report.started:
            # A machine that has the host's key as well, such as a copy of it, would take this for its own.
            raise Refused(already(host, self.brief))
        self._tell(recorded)
        return recorded

    def find(self, host: BriefedHost) -> Report | None:
        """What the archive holds of this host's night, or None."""
        try:
            return parse_report(self.archive.get(self._key(host)))
        except KeyError:
            return None

    def _key(self, host: BriefedHost) -> str:
        return report_key(self.brief.run, self.brief.nonce, host.id)

    def record_cut_off(self, host: BriefedHost, now: datetime) -> None:
        """Record a host that has pushed and not reported as `partial`: its time is over, and nothing takes its report.

        What arrived stays as it is, unsettled, and the next night goes on from there.
        """
        seen = find_session(self.paths, host.id)
        if seen is None or self.paths.reported(host.id).exists():
            return
        if recorded := self.find(host):
            self._take_no_more(host, recorded)
            return
        heard = find_heard(self.paths.heard(host.id))
        began = heard.since if heard and heard.run == self.brief.run else now
        received = self._received(host, None, seen, read_status(self.paths.status(host.id)), now)
        record = cut_off(host, self.brief, began, now, _is_out_of_memory(host, seen))
        self._tell(self._put(host, replace(record, receiver=received)))

    def record_turned_away(self, host: BriefedHost, why: str, now: datetime) -> None:
        """Record a host that has no place as `failed`: it cannot come, nobody waits for it, and operators are told why.

        What an earlier machine of the run has recorded of it stays.
        """
        if not self.paths.reported(host.id).exists():
            nothing = self._received(host, None, None, Status(), now)
            self._tell(self._put(host, replace(turned_away(host, self.brief, why, now), receiver=nothing)))

    def _make_record(self, host: BriefedHost, report: Report, now: datetime) -> Report:
        """With what was put by for that, if something was; where no manifest has room at all the night is partial."""
        try:
            return self.quotas.with_room(self.paths.volume, lambda: self._archive(host, report, now))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        seen = find_session(self.paths, host.id)
        nothing = self._received(host, None, seen, Status(), now)
        return self._put(host, replace(without_room(self._believed(host, report, seen)), receiver=nothing))

    def _archive(self, host: BriefedHost, report: Report, now: datetime) -> Report:
        """What cannot be made durable, because the volume takes no more or has lost some of it, is recorded as that."""
        seen, why = find_session(self.paths, host.id), keep_why_lost(self.paths)
        try:
            if not why:
                return self._archive_durable(host, report, seen, now)
        except (AgentError, OSError):
            why = keep_why_lost(self.paths)
            if not why:
                raise
        nothing = self._received(host, None, seen, Status(), now)
        return self.find(host) or self._put(host, replace(lost(report, why), receiver=nothing))

    def _archive_durable(self, host: BriefedHost, report: Report, seen: Session | None, now: datetime) -> Report:
        status = self._settled(host, seen)
        quota = self.quotas.of(host, self.paths.tree(host.id))
        write_all(self.paths)
        believed, landed = self._seen_for_itself(host, self._judged(host, report, seen, quota), status)
        if landed:
            status = self._remembering(host, status, landed.before)
            believed, landed = self._guarded(host, believed, landed, status)
        received = replace(self._received(host, landed, seen, status, now), quota=quota)
        recorded = self._put(host, replace(believed, receiver=received))
        self._write_status(host, replace(status, complete=True, uncompared=0) if landed else status)
        return recorded

    def _write_status(self, host: BriefedHost, status: Status) -> None:
        """The night is on record, whatever becomes of this: without it the tree is unsettled, and the next push full.

        A host that were told of an error would push once more into the tree that is on record.
        """
        with contextlib.suppress(OSError):
            write_status(self.paths.status(host.id), status)

    def _put(self, host: BriefedHost, recorded: Report) -> Report:
        key, body = self._key(host), encode_report(recorded)
        # A write whose answer was lost is tried again by the client, and finds itself there.
        if not self.archive.put_once(key, body) and self.archive.get(key) != body:
            raise PermanentError(f"another report of {host.id} in {self.brief.run} appeared in the archive meanwhile")
        self._take_no_more(host, recorded)
        return recorded

    def _take_no_more(self, host: BriefedHost, recorded: Report) -> None:
        """A tree that is on record stays what its manifest says, whatever becomes of us; nobody waits for its host.

        A manifest that cannot be put in its place costs nobody the record. As long as the host is waited for, whoever
        finds the record tries once more.
        """
        with contextlib.suppress(OSError):
            keep_manifest(self.paths, host.id, recorded)
        self.paths.reported(host.id).touch()

    def _believed(self, host: BriefedHost, report: Report, seen: Session | None) -> Report:
        return judged(report, seen, _is_out_of_memory(host, seen))

    def _judged(self, host: BriefedHost, report: Report, seen: Session | None, quota: Quota | None) -> Report:
        believed = self._believed(host, report, seen)
        return explained(believed, quota, self.quotas.left(self.paths.volume)) if says_full(believed) else believed

    def _settled(self, host: BriefedHost, seen: Session | None) -> Status:
        """The tree under a new generation, if anything was pushed at all."""
        status = read_status(self.paths.status(host.id))
        if seen is None:
            return status
        generation = secrets.randbits(GENERATION_BITS)
        return replace(status, generation=generation, settled=True, run=self.brief.run, boot="", since="")

    def _seen_for_itself(
        self, host: BriefedHost, report: Report, status: Status
    ) -> tuple[Report, ManifestSummary | None]:
        """The report in view of the tree it is of, and the tree's manifest; none of a night that is not complete.

        A tree with an entry of which no manifest can tell is no proven one, and the night is partial.
        """
        if not report.is_complete:
            return (self._mended(host, report) if report.exit_code == FILE_IO else report), None
        known, next_one = self.paths.manifest(host.id), self.paths.next_manifest(host.id)
        header = Header(host.id, self.brief.run, FAKE_SUPER, status.munged, self.brief.nonce)
        try:
            landed = manifest.write(
                self.paths.tree(host.id), FAKE_SUPER, known, next_one, header, self._most(), status.uncompared
            )
        except PermanentError as untold:
            if find_why_lost(self.paths):
                raise
            partial = replace(report, status=PARTIAL, problems=bounded((str(untold), *report.problems)))
            return (self._mended(host, partial) if isinstance(untold, Unreadable) else partial), None
        return report, landed

    def _remembering(self, host: BriefedHost, status: Status, before: Before) -> Status:
        """With what the last complete night held, unless what an operator has said is meant begins the history anew.

        It is on the volume before tonight is on record: from then on whoever is killed may leave nothing more behind.
        """
        nights = remembered(status.nights, before) if host.guarded else ()
        if nights != status.nights:
            path = self.paths.status(host.id)
            write_status(path, replace(read_status(path), nights=nights))
        return replace(status, nights=nights)

    def _guarded(
        self, host: BriefedHost, report: Report, landed: ManifestSummary, status: Status
    ) -> tuple[Report, ManifestSummary | None]:
        """What the next nights are compared with stays the last complete one."""
        landed = _with_what_is_lost(landed, status, self.paths.manifest(host.id))
        report = guarded(report, host, landed, status.nights)
        if report.is_complete:
            return report, landed
        self.paths.next_manifest(host.id).unlink()
        return report, None

    def _most(self) -> int:
        """What a manifest may take of the volume, so that no host takes with it what others have room for."""
        return min(LARGEST, shutil.disk_usage(self.paths.hosts).total // LARGEST_PART)

    def _mended(self, host: BriefedHost, report: Report) -> Report:
        """A push ends at the first note that is none, and so would the next one."""
        taken = take_off_lost_notes(self.paths.tree(host.id))
        said = f"what rsync had noted of owner and mode was lost of {taken} entries: the next push writes it anew"
        return replace(report, problems=bounded((said, *report.problems))) if taken else report

    def _received(
        self, host: BriefedHost, landed: ManifestSummary | None, seen: Session | None, status: Status, now: datetime
    ) -> Received:
        return Received(
            received=now,
            exit_code=seen.exit_code if seen else None,
            seconds=seen.seconds if seen else 0.0,
            entries=landed.entries if landed else 0,
            bytes=landed.size if landed else 0,
            generation=status.generation,
            tree=FAKE_SUPER,
            manifest=self._archive_manifest(host, landed) if landed else None,
            links=landed.links if landed else "",
        )

    def _archive_manifest(self, host: BriefedHost, written: ManifestSummary) -> ArchivedManifest:
        for number in range(1, MOST_MANIFESTS + 1):
            key = manifest_key(host.id, self.brief.run, self.brief.nonce, number)
            if (
                self.archive.put_once(key, self.paths.next_manifest(host.id))
                or self.archive.digest(key) == written.sha256
            ):
                return ArchivedManifest(key, written.sha256, written.entries, written.unhashed, written.content)
        raise PermanentError(
            f"{MOST_MANIFESTS} different manifests of {host.id} in {self.brief.run} are archived already"
        )

    def _tell(self, report: Report) -> None:
        """Send the completion event; a hint, so its loss costs minutes: the archive is the truth.

        A host that were told of an error would take its night for lost.
        """
        detail = {"run": report.run, "host": report.host, "id": report.id, "status": report.status}
        with contextlib.suppress(OSError):
            self.archive.send_event(event_source(self.brief), "Ebbtide Host Report", detail)


def _is_out_of_memory(host: BriefedHost, seen: Session | None) -> bool:
    """Whether the last push has not come to its end, and the kernel has ended sessions of this host since it began."""
    return seen is not None and seen.exit_code != 0 and cgroups.kills(host.id) > seen.kills


def _with_what_is_lost(landed: ManifestSummary, status: Status, known: Path) -> ManifestSummary:
    """A manifest that has to be there and is not is as one that cannot be read: this is no first night."""
    if not status.complete or known.exists():
        return landed
    return replace(landed, before=replace(landed.before, damage=f"{known} is not there"))


def already(host: BriefedHost, brief: Run) -> str:
    """What is said to whoever comes after a host's report."""
    return (
        f"{host.id} has reported in {brief.run} already; if it was another machine, one of the two is a copy of"
        f" {host.name}, and has to be enrolled as a host of its own: ebbtide-agent install --new-identity --host NAME"
    )


def event_source(run: Run) -> str:
    return f"ebbtide.receiver.{run.receiver}"
