"""This host's place on a machine that is not ours, which gives us rsync and no more: its tree, and a report beside it.

`tree` keeps owners and devices in attributes. `report.json` is of the last night; while a push is under way it says so,
and only when all has arrived is it replaced by one of a complete night.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.far_files import FarFiles
from ebbtide_agent.host.link import World
from ebbtide_agent.host.login import Login, login_of
from ebbtide_agent.host.target import Remote
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Report, encode_report, parse_report
from ebbtide_agent.shapes import OfLaterVersion

_TREE, _REPORT = "tree", "report.json"


class Unreadable(Refused):
    """What lies there as a report says neither whose the tree is, nor whether that is whole. `point` is what is asked
    for where no report tells its run."""

    point = ""


class Damaged(Unreadable):
    """It is none."""

    point = "damaged-report"


class Later(Unreadable):
    """A later version has written it, and can read it."""

    point = "later-report"


@dataclass(frozen=True)
class FarPlace:
    """A directory over there, and how it is reached."""

    target: Remote
    config: Config
    paths: HostPaths
    world: World
    sockets: Path | None = None

    @property
    def login(self) -> Login:
        return login_of(self.config, self.target, self.sockets)

    def route(self, attempt: int) -> tuple[str, ...]:
        """What rsync is told to get to the tree. Raises TransientError while nobody knows where that is."""
        return "-M--fake-super", *self._files(self.login).route(attempt, f"{_TREE}/")

    def has_tree(self, until: datetime) -> bool:
        return self._files(self.login).has(_TREE, until)

    def come_in(self, login: Login) -> None:
        """Raises an AgentError when this login is not let in."""
        self._files(login).has(_REPORT, self.world.clock())

    def find_report(self, until: datetime) -> Report | None:
        """The last night's, or None while there is none.

        Raises Damaged, Later, and Refused when it is none of this host's.
        """
        self._files(self.login).fetch(_REPORT, self.paths.fetched_report, until)
        return self.found_report()

    def found_report(self) -> Report | None:
        """What `find_report` found."""
        if not self.paths.fetched_report.exists():
            return None
        try:
            report = parse_report(self.paths.fetched_report.read_bytes())
        except OfLaterVersion as error:
            said = "was written by a later version"
            raise Later(f"what {self.target} has as the last night's report {said}: {error}") from error
        except PermanentError as error:
            raise Damaged(f"what {self.target} has as the last night's report is damaged: {error}") from error
        if report.host != self.config.host:
            raise Refused(f"{self.target} holds the backup of {report.host}; HOST is {self.config.host}")
        return report

    def put_report(self, report: Report, until: datetime) -> None:
        outgoing = self.paths.outgoing / _REPORT
        outgoing.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(outgoing, encode_report(report))
        self._files(self.login).put(outgoing, until)

    def _files(self, login: Login) -> FarFiles:
        return FarFiles(login, self.target.path, self.config.rsync, self.world)
