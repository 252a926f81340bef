"""The way to a directory on somebody else's machine, by ssh and rsync alone: no shell is needed there.

Below the directory lie `tree`, with owners and devices recorded in attributes, and `report.json`, the report of the
last night. While a push is under way it says so; only when all has arrived is it replaced by one of a complete night.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.far_files import FarFiles
from ebbtide_agent.host.key_change import settle
from ebbtide_agent.host.link import Login, World
from ebbtide_agent.host.push import Pass, in_full, passes_of
from ebbtide_agent.host.record import recorded, run_of
from ebbtide_agent.host.resume import NEXT_TO_EACH, resumable
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import Remote
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import PARTIAL, Hello, Report, encode_report, parse_report

TREE, _REPORT = "tree", "report.json"


@dataclass(frozen=True)
class ToRemote:
    """One night's way to a directory over there."""

    target: Remote
    config: Config
    paths: HostPaths
    world: World
    sockets: Path | None = None

    @property
    def login(self) -> Login:
        there, config = self.target, self.config
        keys = config.key, config.known_hosts
        return Login(there.name, there.port, there.user, *keys, self.sockets, compress=config.compress)

    @property
    def far(self) -> FarFiles:
        return self._by(self.login)

    def _by(self, login: Login) -> FarFiles:
        return FarFiles(login, self.target.path, self.config.rsync, self.world)

    def hello(self, until: datetime) -> Hello:
        """Raises Refused when what lies over there is not this host's."""
        last = self.find_report(until)
        if last is None and self.far.has(TREE, until):
            raise Refused(f"{self.target} has a {TREE} and no {_REPORT} that says whose it is; name another place")
        if last and last.host != self.config.host:
            raise Refused(f"{self.target} holds the backup of {last.host}; HOST is {self.config.host}")
        settle(self.login, lambda login: self._by(login).has(_REPORT, self.world.clock()), self.world.say)
        generation = last.receiver.generation if last and last.receiver else None
        self.world.say(f"target: {self.target}, until {moments.write(until)}")
        run = run_of("ssh", self.world.clock())
        return Hello(run, self.config.host, "", "", generation, deadline=until, tree=self.target.tree)

    def passes(self, taken: Survey) -> Iterator[Pass]:
        now, last = self.world.clock(), self._fetched()
        was_whole = last is not None and last.receiver is not None
        said = ("the push has begun and did not come to its end",)
        begun = Report(run_of("ssh", now), self.config.host, "", "", PARTIAL, now, now, 0, problems=said)
        self._put(begun, now + timedelta(seconds=self.config.wait_seconds))
        passes = passes_of(self.config, taken, self.paths.nothing)
        if taken.course.by_index:
            # Little is left for a push in full by then, and it clears away what was kept aside.
            yield from (each if each.heals else resumable(each, NEXT_TO_EACH) for each in passes)
            return
        yield from (resumable(each, NEXT_TO_EACH) for each in passes)
        if not was_whole:
            yield in_full(self.config)

    def route(self, attempt: int) -> tuple[str, ...]:
        return "-M--fake-super", *self.far.route(attempt, f"{TREE}/")

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Leave the report over there; if nothing was pushed, what it says there still holds."""
        if not report.bytes_sent:
            return report
        now = self.world.clock()
        # Nobody can look at the hard links over there.
        record = recorded(report, self.target.tree, "", now) if report.is_complete else report
        self._put(record, max(hello.deadline, now + timedelta(minutes=1)))
        return record

    def find_report(self, until: datetime) -> Report | None:
        """The report over there, or None while there is none. Raises Refused when it is none of ours."""
        self.far.fetch(_REPORT, self.paths.fetched_report, until)
        return self._fetched()

    def _fetched(self) -> Report | None:
        if not self.paths.fetched_report.exists():
            return None
        try:
            return parse_report(self.paths.fetched_report.read_bytes())
        except PermanentError as error:
            raise Refused(f"{self.target}: {error}; name another place") from error

    def _put(self, report: Report, until: datetime) -> None:
        outgoing = self.paths.outgoing / _REPORT
        outgoing.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(outgoing, encode_report(report))
        self.far.put(outgoing, until)
