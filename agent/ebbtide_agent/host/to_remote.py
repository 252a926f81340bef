"""The way to a directory on somebody else's machine, by ssh and rsync alone: no shell is needed there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from ebbtide_agent import moments
from ebbtide_agent.errors import Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.claim import keep_target, went_to
from ebbtide_agent.host.far_place import Damaged, FarPlace
from ebbtide_agent.host.key_change import settle
from ebbtide_agent.host.push import Pass, in_full, passes_of
from ebbtide_agent.host.record import recorded, run_of
from ebbtide_agent.host.resume import NEXT_TO_EACH, resumable
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.no_room import is_full
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import PARTIAL, Hello, Report, bounded

_BEGUN = "the push has begun and did not come to its end"
# A push is seldom at it for so long, and the night after one that was refused for that comes later.
_GIVEN_UP_AFTER = timedelta(hours=20)
_LOOK_FOR_IT = "see that no copy of this host, and no second agent on it, has the same target"
_MARK_BYTES = 16


@dataclass(frozen=True)
class ToRemote:
    """One night's way to this host's place over there. `machine` is where it begins, empty when nobody can tell."""

    place: FarPlace
    machine: str = ""

    def hello(self, until: datetime) -> Hello:
        """Raises Refused when what lies over there is not this host's, or another run of it pushes there."""
        place = self.place
        host, target, world = place.config.host, place.target, place.world
        last = self._find_last(until)
        if last is None and place.has_tree(until):
            raise Refused(f"{target} has a tree and no report.json that says whose it is; name another place")
        self._check_alone(last)
        keep_target(place.paths.remote, str(target), world.say)
        settle(place.login, place.come_in, world.say)
        generation = _generation_of(last)
        world.say(f"target: {target}, until {moments.write(until)}")
        run = run_of("ssh", world.clock())
        ours = _own_mark(place.paths)
        return Hello(run, host, "", ours, generation, deadline=until, tree=target.tree, empty=last is None)

    def passes(self, hello: Hello, taken: Survey) -> Iterator[Pass]:
        config, world = self.place.config, self.place.world
        now, until = world.clock(), world.waiting() + timedelta(seconds=config.wait_seconds)
        self._check_as_at_hello(hello, self._find_last(until))
        begun = Report(
            hello.run, config.host, "", hello.nonce, PARTIAL, now, now, 0, problems=(_BEGUN,), machine=self.machine
        )
        self.place.put_report(begun, until)
        passes = passes_of(config, taken, self.place.paths, hello.empty)
        if taken.course.by_index:
            # Little is left for a push in full by then, and it clears away what was kept aside.
            yield from (each if each.heals else resumable(each, NEXT_TO_EACH) for each in passes)
            return
        yield from (resumable(each, NEXT_TO_EACH) for each in passes)
        if hello.generation is None:
            yield in_full(config)

    def route(self, hello: Hello, attempt: int) -> tuple[str, ...]:
        return self.place.route(attempt)

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Leave the report over there; if nothing was pushed, what it says there still holds."""
        report = self._with_what_to_do(report)
        if not report.bytes_sent:
            return report
        place, world = self.place, self.place.world
        until = max(hello.deadline, world.waiting() + timedelta(minutes=1))
        if report.is_complete and not self._is_as_begun(hello, self._find_own(until)):
            said = (
                f"another run has pushed to {place.target} meanwhile, and what is there now is of both: {_LOOK_FOR_IT}"
            )
            report = replace(report, status=PARTIAL, problems=bounded((said, *report.problems)))
        # Nobody can look at the hard links over there.
        record = recorded(report, place.target.tree, "", world.clock()) if report.is_complete else report
        place.put_report(record, until)
        return record

    def _find_last(self, until: datetime) -> Report | None:
        """The report that lies there. A damaged one, where the last push of this host went, is as of one that did not
        come to its end: so nothing of the tree counts as known. Raises Refused when it is none of this host's, or is a
        later version's."""
        place = self.place
        try:
            return place.find_report(until)
        except Damaged as error:
            if not went_to(place.paths.remote, str(place.target)):
                raise Refused(f"{error}; name another place") from error
            place.world.say(f"{error}: it counts for nothing")
            then = datetime.fromtimestamp(0, timezone.utc)
            return Report("", place.config.host, "", "", PARTIAL, then, then, 0, problems=(str(error),))

    def _with_what_to_do(self, report: Report) -> Report:
        if not any(map(is_full, report.problems)):
            return report
        said = f"{self.place.target} is full: make room there, or get more of it"
        return replace(report, problems=bounded((said, *report.problems)))

    def _check_alone(self, last: Report | None) -> None:
        """Raises Refused while a run of another machine or state is under way there, as far as anybody knows."""
        if last is None or last.problems != (_BEGUN,) or self._is_ours(last):
            return
        given_up = last.started + _GIVEN_UP_AFTER
        if abs(self.place.world.clock() - last.started) < _GIVEN_UP_AFTER:
            raise Refused(
                f"another run of {last.host} has begun to push to {self.place.target} at {moments.write(last.started)},"
                f" and has not come to its end: {_LOOK_FOR_IT}\n"
                f"if nothing pushes there any more, a night from {moments.write(given_up)} on does"
            )

    def _check_as_at_hello(self, hello: Hello, last: Report | None) -> None:
        """Raises Refused when another run has been there since, or is. Ours has if it pushes once more."""
        self._check_alone(last)
        if _generation_of(last) != hello.generation and not self._is_as_begun(hello, last):
            said = f"another run of {hello.host} has pushed to {self.place.target} since this one asked"
            raise Refused(f"{said}: {_LOOK_FOR_IT}")

    def _is_ours(self, begun: Report) -> bool:
        """Whether it was begun with this state, on this machine: then it was killed. An earlier agent left no mark."""
        return not begun.nonce or (begun.nonce, begun.machine) == (_own_mark(self.place.paths), self.machine)

    def _is_as_begun(self, hello: Hello, last: Report | None) -> bool:
        """Whether what lies there says that this run has begun."""
        return last is not None and (last.run, last.nonce, last.machine) == (hello.run, hello.nonce, self.machine)

    def _find_own(self, until: datetime) -> Report | None:
        """The report that lies there, if it is this host's."""
        try:
            return self.place.find_report(until)
        except Refused:
            return None


def _generation_of(last: Report | None) -> int | None:
    return last.receiver.generation if last and last.receiver else None


def _own_mark(paths: HostPaths) -> str:
    """What tells the runs of this state from those of others."""
    if not paths.pusher.exists():
        write_whole(paths.pusher, secrets.token_hex(_MARK_BYTES).encode())
    return paths.pusher.read_text()
