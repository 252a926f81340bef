"""The way to a directory on somebody else's machine, by ssh and rsync alone: no shell is needed there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ebbtide_agent import moments
from ebbtide_agent.errors import Refused
from ebbtide_agent.host.far_place import FarPlace
from ebbtide_agent.host.key_change import settle
from ebbtide_agent.host.push import Pass, in_full, passes_of
from ebbtide_agent.host.record import recorded, run_of
from ebbtide_agent.host.resume import NEXT_TO_EACH, resumable
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.no_room import is_full
from ebbtide_agent.report import PARTIAL, Hello, Report, bounded


@dataclass(frozen=True)
class ToRemote:
    """One night's way to this host's place over there."""

    place: FarPlace

    def hello(self, until: datetime) -> Hello:
        """Raises Refused when what lies over there is not this host's."""
        place = self.place
        host, target, world = place.config.host, place.target, place.world
        last = place.find_report(until)
        if last is None and place.has_tree(until):
            raise Refused(f"{target} has a tree and no report.json that says whose it is; name another place")
        settle(place.login, place.come_in, world.say)
        generation = last.receiver.generation if last and last.receiver else None
        world.say(f"target: {target}, until {moments.write(until)}")
        run = run_of("ssh", world.clock())
        return Hello(run, host, "", "", generation, deadline=until, tree=target.tree, empty=last is None)

    def passes(self, hello: Hello, taken: Survey) -> Iterator[Pass]:
        config, now, last = self.place.config, self.place.world.clock(), self.place.found_report()
        was_whole = last is not None and last.receiver is not None
        said = ("the push has begun and did not come to its end",)
        begun = Report(run_of("ssh", now), config.host, "", "", PARTIAL, now, now, 0, problems=said)
        self.place.put_report(begun, self.place.world.waiting() + timedelta(seconds=config.wait_seconds))
        passes = passes_of(config, taken, self.place.paths, hello.empty)
        if taken.course.by_index:
            # Little is left for a push in full by then, and it clears away what was kept aside.
            yield from (each if each.heals else resumable(each, NEXT_TO_EACH) for each in passes)
            return
        yield from (resumable(each, NEXT_TO_EACH) for each in passes)
        if not was_whole:
            yield in_full(config)

    def route(self, hello: Hello, attempt: int) -> tuple[str, ...]:
        return self.place.route(attempt)

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Leave the report over there; if nothing was pushed, what it says there still holds."""
        report = self._with_what_to_do(report)
        if not report.bytes_sent:
            return report
        world = self.place.world
        # Nobody can look at the hard links over there.
        record = recorded(report, self.place.target.tree, "", world.clock()) if report.is_complete else report
        self.place.put_report(record, max(hello.deadline, world.waiting() + timedelta(minutes=1)))
        return record

    def _with_what_to_do(self, report: Report) -> Report:
        if not any(map(is_full, report.problems)):
            return report
        said = f"{self.place.target} is full: make room there, or get more of it"
        return replace(report, problems=bounded((said, *report.problems)))
