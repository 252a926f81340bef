"""The way to a directory of this host: dated snapshots that share what did not change by hard links.

A hard link is the same file: whoever changed its owner, mode or times would change them in every snapshot. rsync does
that to a file whose content did not change. So nothing here is pushed onto a file that an earlier snapshot has, too.

By the index a snapshot starts as a copy of the newest one, all names linked (`cp -al`); of what the index says has
changed, files are written anew and the rest is deleted first, and everything else is left alone. In full, rsync fills
an empty tree and links what is as it should be in the one before (`--link-dest`): that takes several times longer.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from ebbtide_agent import disk, moments, procs, snapshots
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.hardlinks import digest_of, find_groups
from ebbtide_agent.host.changes import Changes
from ebbtide_agent.host.claim import claim
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.link import World
from ebbtide_agent.host.look import look
from ebbtide_agent.host.push import Pass, by_index, in_full, passes_of, with_links_broken
from ebbtide_agent.host.record import recorded, run_of
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import Directory
from ebbtide_agent.no_room import is_full, is_without_room
from ebbtide_agent.paths import DirectoryPaths, HostPaths
from ebbtide_agent.report import FAILED, Hello, Report, parse_report
from ebbtide_agent.rotation import Rotation, broken_in, names_in, remove
from ebbtide_agent.stillness import STILL_SECONDS


@dataclass(frozen=True)
class ToDirectory:
    """One night's way to a directory that is held for it. `night` tells it from all others: boot first, then a draw."""

    target: Directory
    config: Config
    paths: HostPaths
    world: World
    night: str = field(default_factory=lambda: f"{moments.up().start} {secrets.token_hex()}")

    @property
    def store(self) -> DirectoryPaths:
        return DirectoryPaths(self.target.path)

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.store, self.world.clock, self.world.say, partial(disk.check_synced, self.store.path))

    def hello(self, until: datetime) -> Hello:
        """Raises Refused when another host's backups go to the directory."""
        claim(self.store, self.paths, self.config.host, self.world.say)
        complete = self.rotation.complete()
        remove(self.store.expired)
        if names_in(self.store):
            # Some of it is linked to one of them, and an rsync that went on there would change both.
            remove(self.store.incomplete)
        elif self.store.making.exists() and not self._is_of_this_boot():
            self.world.say(f"{self.store.incomplete} is of an earlier boot, and may not all be on the disk: begun anew")
            remove(self.store.incomplete)
        self.store.incomplete.mkdir(mode=0o700, exist_ok=True)
        write_whole(self.store.making_night, self.night.encode())
        for broken in broken_in(self.store):
            self.world.say(f"{self.store.snapshot(broken)} lacks its tree or its report and counts for nothing")
        now = self.world.clock()
        self.world.say(f"target: {self.target}, snapshots: {len(complete)}, the newest: {(complete or ('none',))[-1]}")
        generation = self._generation_of(complete[-1]) if complete else None
        # There is no connection that could break: nothing is tried again.
        run, host, tree = run_of("local", now), self.config.host, self.target.tree
        empty = not complete and not self.store.making.exists()
        return Hello(run, host, "", "", generation, deadline=now, tree=tree, empty=empty)

    def passes(self, hello: Hello, taken: Survey) -> Iterator[Pass]:
        complete = self.rotation.complete()
        if not complete:
            # What an earlier night has left of it is nobody else's: go on from there.
            yield from passes_of(self.config, taken, self.paths, hello.empty)
            return
        base = self.store.tree(complete[-1])
        # Tonight's tree is there already if this is asked for once more.
        is_copied = self.store.making.exists() or (taken.changes is not None and self._copy_links(base))
        if is_copied:
            if taken.changes is not None:
                self.paths.nothing.mkdir(exist_ok=True, mode=0o700)
                yield from by_index(self.config, _written_anew(taken.changes), self.paths.nothing)
            if not taken.course.in_full:
                return
            remove(self.store.before)
            base = self.store.making.rename(self.store.before)
        full = in_full(self.config, taken.course.in_content)
        yield replace(full, words=(*full.words, f"--link-dest={base}"))
        if taken.may_be_linked or (taken.changes is not None and not is_copied):
            yield from with_links_broken(self.config, taken, self.paths)

    def route(self, hello: Hello, attempt: int) -> tuple[str, ...]:
        return (f"{self.store.making}/",)

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Make it a snapshot if it is complete, and only then let go of the oldest."""
        if not report.is_complete:
            return self._without_room(report) if any(map(is_full, report.problems)) else report
        try:
            self._check_ours()
            links = look(f"a look at {self.store.making}", lambda: digest_of(find_groups(self.store.making)))
            record = recorded(report, self.target.tree, links, self.world.clock())
            remove(self.store.before)
            # To look at a whole tree takes a while.
            self._check_ours()
            self.store.making_night.unlink()
            if self.world.clock_is_kept():
                # There is no other clock to ask, and one that is far behind must date nothing anew.
                self.rotation.date_anew(self.world.clock())
            self.rotation.seal(record)
        except (OSError, PermanentError) as error:
            failed = replace(report, status=FAILED, problems=(str(error), *report.problems))
            return self._without_room(failed) if is_without_room(str(error)) else failed
        keep = self.config.keep
        self.rotation.let_go(snapshots.expire(self.rotation.complete(), keep), f"KEEP is {keep}")
        return record

    def _check_ours(self) -> None:
        """Whoever does not know of the lock, or puts another disk here, leaves a tree that this night did not push."""
        if self._made_by() != self.night:
            raise PermanentError(f"{self.store.making} is not what was pushed: somebody else has written there")

    def _is_of_this_boot(self) -> bool:
        """Of what an earlier one was lost with, size and time may be on the disk, and the content not."""
        boot, _, _ = self.night.partition(" ")
        return self._made_by().startswith(f"{boot} ")

    def _made_by(self) -> str:
        """The night that writes here, or did."""
        place = self.store.making_night
        return place.read_text(errors="replace") if place.exists() else ""

    def _generation_of(self, name: str) -> int | None:
        """None when nobody can tell: the push is a full one then."""
        try:
            received = parse_report(self.store.report(name).read_bytes()).receiver
        except (OSError, PermanentError):
            return None
        return received.generation if received else None

    def _copy_links(self, base: Path) -> bool:
        """Whether tonight's tree is now a copy of `base`; a file can have too many names already."""
        copied = procs.run(("cp", "-al", "--", str(base), str(self.store.making)), still_seconds=STILL_SECONDS)
        if copied.exit_code != 0:
            self.world.say(f"a full push: {base} could not be copied by links: {copied.why}")
            remove(self.store.making)
        return copied.exit_code == 0

    def _without_room(self, report: Report) -> Report:
        """What there is of a snapshot stays until the next night, but not to fill the disk until then."""
        remove(self.store.incomplete)
        said = (
            f"{self.target} is full. Nothing is left of tonight's snapshot, and no earlier one was removed: make room"
        )
        return replace(report, status=FAILED, problems=(said, *report.problems))


def _written_anew(changes: Changes) -> Changes:
    """Nothing in place: it would be changed in the snapshot before as well."""
    return Changes(changes.gone, (*changes.changed, *changes.in_place), ())
