"""The way to an EBS volume of this host's own: mounted for the push alone, then left alone for a while.

Nobody looks on, so this host writes the manifest, archives its report and sends its event itself, with whatever
credentials boto3 finds. While the control plane may snapshot the volume, nobody writes to it: that is promised.
"""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent import manifest, moments, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.entry import Header
from ebbtide_agent.errors import AgentError, PermanentError, Refused, TransientError
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.link import World, keep_trying
from ebbtide_agent.host.outbox import Outbox, send
from ebbtide_agent.host.own_report import (
    QUIET,
    QUIET_AFTER_NOTHING,
    OwnVolume,
    encode_own_report,
    own_run,
)
from ebbtide_agent.host.push import Pass, passes_of
from ebbtide_agent.host.pushing import PushNote
from ebbtide_agent.host.record import recorded, run_of
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import Volume
from ebbtide_agent.paths import HostPaths, OwnVolumePaths, device_name
from ebbtide_agent.report import (
    FAILED,
    WITH_WARNINGS,
    ArchivedManifest,
    Hello,
    Report,
    bounded,
    encode_report,
    manifest_key,
    parse_report,
    worst,
)
from ebbtide_agent.shapes import decode, encode, moment
from ebbtide_agent.whose import Claim, look_first

_FILESYSTEM = "ext4"
_NONCE_BYTES = 16
_WHY = "ebbtide-agent run --progress lines says why; what is damaged may be deleted"


@dataclass(frozen=True)
class ToVolume:
    """One night's way to this host's volume. `night` tells it from all others, drawn."""

    target: Volume
    config: Config
    paths: HostPaths
    world: World
    night: str = field(default_factory=secrets.token_hex)

    @property
    def store(self) -> OwnVolumePaths:
        return OwnVolumePaths(self.paths.volume, self.target.host_id)

    @property
    def _device(self) -> Path:
        return self.paths.disks / device_name(self.target.volume_id)

    @property
    def _note(self) -> PushNote:
        return PushNote(self.store.pushing, self.store.tree, self.night)

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.paths.outbox)

    @contextlib.contextmanager
    def let_go_on_failure(self) -> Iterator[None]:
        """Whatever ends the block before its time, the volume does not stay mounted; and what is known to be on it by
        then need not be compared."""
        with volume.unmounted_on_failure(self.paths.volume):
            try:
                yield
            except BaseException:
                self._note_written()
                raise

    def hello(self, until: datetime) -> Hello:
        """Raises Refused while the last promise holds, or when it is not this host's volume."""
        now = self.world.clock()
        if importlib.util.find_spec("boto3") is None:
            raise PermanentError(f"{self.target} needs boto3 to report by itself: install python3-boto3")
        self._send_what_is_left()
        self._keep_promise(now)
        self._mount()
        generation = self._generation()
        self.world.say(f"target: {self.target}, mounted at {self.paths.volume}")
        run, empty = run_of("volume", now), not self.store.tree.exists()
        host, id_ = self.config.host, self.target.host_id
        return Hello(run, host, id_, "", generation, now, self.target.tree, empty=empty)

    def passes(self, hello: Hello, taken: Survey) -> Iterator[Pass]:
        self.store.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store.report.unlink(missing_ok=True)
        self._note.put()
        yield from passes_of(self.config, taken, self.paths, hello.empty)

    def route(self, hello: Hello, attempt: int) -> tuple[str, ...]:
        return (f"{self.store.tree}/",)

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Make it durable, let go of the volume, promise to leave it alone, and only then tell anybody."""
        report = self._with_what_is_left(report)
        record = self._recorded(replace(report, run=own_run(self.target.host_id, report.finished)))
        unmounted = self._let_go()
        quiet_until = record.finished + (QUIET if record.receiver else QUIET_AFTER_NOTHING)
        write_whole(self.paths.promise, encode({"quiet_until": moments.write(quiet_until)}))
        archived = record.receiver.manifest if record.receiver else None
        about = OwnVolume(self.target.volume_id, self.target.tree, unmounted, quiet_until, archived)
        tonight = self.outbox.add(record.run, encode_own_report(record, about))
        self._send(tonight, self.world.waiting() + timedelta(seconds=self.config.wait_seconds))
        self._send_what_is_left()
        return record

    def _keep_promise(self, now: datetime) -> None:
        try:
            values = decode(str(self.paths.promise), self.paths.promise.read_bytes())
        except FileNotFoundError:
            return
        until = moment(str(self.paths.promise), values, "quiet_until")
        # Of a clock that is far behind nobody knows how long a promise has still to hold.
        was_far_ahead = until > now + QUIET and self.world.clock_is_kept()
        if now < until and not was_far_ahead:
            raise Refused(f"{self.target} is left alone until {moments.write(until)}: a snapshot of it may be taken")

    def _mount(self) -> None:
        volume.unmount(self.paths.volume)
        self.outbox.clear()
        claim = claim_of(self.target, self.store)
        volume.await_device(self._device, volume.PATIENCE_SECONDS)
        if found := volume.find_filesystem(self._device):
            look_first(self._device, self.paths.volume, found, claim)
        is_mended = volume.mount(self._device, self.paths.volume, _FILESYSTEM)
        if not claim.is_marked():
            claim.put_mark()
        if is_mended:
            # What fsck has taken out, or cut short, is missed only by who looks at everything.
            self._note.put_of_nobody()
            self.store.report.unlink(missing_ok=True)

    def _generation(self) -> int | None:
        """None also where something is to be compared: only a push in full does that."""
        if self.store.pushing.exists():
            return None
        try:
            received = parse_report(self.store.report.read_bytes()).receiver
        except (FileNotFoundError, PermanentError):
            return None
        return received.generation if received else None

    def _recorded(self, report: Report) -> Report:
        """The report with the manifest of what is on the volume, if that is a whole tree."""
        if not report.is_complete:
            return report
        try:
            return self._witnessed(report)
        except (OSError, PermanentError) as error:
            said = f"what was pushed is not proven to be there: {error}"
            return replace(report, status=FAILED, problems=bounded((said, *report.problems)))

    def _witnessed(self, report: Report) -> Report:
        store = self.store
        self._note.write_all()
        header = Header(self.target.host_id, report.run, self.target.tree)
        earlier = store.manifest if store.manifest.exists() else None
        written = manifest.write(store.tree, self.target.tree, earlier, store.manifest, header)
        # Receivers may write there as well, and whoever has taken one over would be there first.
        key = manifest_key(self.target.host_id, report.run, secrets.token_hex(_NONCE_BYTES))
        archived = ArchivedManifest(key, written.sha256, written.entries, written.unhashed, written.content)
        record = recorded(report, self.target.tree, written.links, self.world.clock(), archived)
        write_whole(store.report, encode_report(record))
        self.outbox.take_manifest(store.manifest)
        return record

    def _let_go(self) -> bool:
        self._note_written()
        try:
            volume.let_go(self._device, self.paths.volume)
        except PermanentError as error:
            self.world.say(f"{error}: a snapshot of it is one as of a crash")
            return False
        return True

    def _note_written(self) -> None:
        """Without that the next night compares what it need not."""
        try:
            self._note.take_off()
        except (OSError, PermanentError) as error:
            self.world.say(f"that all is on the disk could not be noted: {error}")

    def _send(self, letter: Path, until: datetime) -> None:
        cloud = Cloud(self.target.archive, self.target.region)
        keep_trying(lambda _: send(letter, cloud, self.world.say), until, self.world)

    def _send_what_is_left(self) -> None:
        """Of earlier nights; tonight does not wait for it, and what is refused for good holds nothing else up."""
        for letter in self.outbox.letters():
            try:
                self._send(letter, self.world.waiting())
            except (AgentError, OSError) as error:
                self.world.say(f"{letter} has still to be sent: {error}")
                if isinstance(error, TransientError):
                    return

    def _with_what_is_left(self, report: Report) -> Report:
        """Nobody but this host knows of it."""
        left = self.outbox.letters()
        if not left:
            return report
        said = f"what earlier nights have to report is still to be sent, from {left[0]} on: {_WHY}"
        return replace(report, status=worst(report.status, WITH_WARNINGS), problems=bounded((*report.problems, said)))


def claim_of(target: Volume, store: OwnVolumePaths) -> Claim:
    """That a volume is this host's."""
    return Claim(target.volume_id, store.mark, "host", target.host_id, store.home)
