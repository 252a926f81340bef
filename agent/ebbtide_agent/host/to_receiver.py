"""The way to a receiver: hello, push and report through its gate, over ssh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.key_change import settle
from ebbtide_agent.host.link import World, ask, keep_asking, route
from ebbtide_agent.host.login import Login, login_of
from ebbtide_agent.host.push import Pass, passes_of
from ebbtide_agent.host.resume import cleared, into_nothing, resumable
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import Receiver
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Hello, Report, bounded, encode_greeting, encode_report, parse_hello, parse_report


@dataclass(frozen=True)
class ToReceiver:
    """One night's way to tonight's receiver. `machine` is where it begins, empty when nobody can tell."""

    target: Receiver
    config: Config
    paths: HostPaths
    world: World
    sockets: Path | None = None
    machine: str = ""

    @property
    def login(self) -> Login:
        return login_of(self.config, self.target, self.sockets)

    def hello(self, until: datetime) -> Hello:
        """Raises PermanentError when the key we hold is another host's."""
        greeting = encode_greeting(self.machine)
        hello = parse_hello(keep_asking(self.login, "hello", until, self.world, greeting))
        if hello.host != self.config.host:
            key, host = self.config.key, self.config.host
            raise PermanentError(f"the receiver takes the key {key} for {hello.host}'s; HOST is {host}")
        self.world.say(f"hello: run {hello.run}, until {moments.write(hello.deadline)}")
        if hello.now:
            # What is left until then, whatever the time is here.
            hello = replace(hello, deadline=self.world.waiting() + (hello.deadline - hello.now))
        settle(self.login, lambda login: ask(login, "hello", greeting), self.world.say)
        return hello

    def passes(self, hello: Hello, taken: Survey) -> Iterator[Pass]:
        is_empty = hello.empty
        for what in passes_of(self.config, taken, self.paths, hello.empty):
            yield into_nothing(what) if is_empty else resumable(what)
            is_empty = False
        if taken.course.in_full and not taken.course.by_index:
            yield cleared(self.config, hello.empty)

    def route(self, hello: Hello, attempt: int) -> tuple[str, ...]:
        there = route(self.login, attempt, "::tree/")
        # An older gate has not heard which machine this is, and would not understand it here either.
        return (f"--rsync-path=rsync --machine={hello.machine}", *there) if hello.machine else there

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Hand the report over, also when the deadline is near; what comes back is what the receiver recorded.

        Raises Unseen when that is another machine than was pushed to, as far as it knows.
        """
        until = max(hello.deadline, self.world.waiting() + timedelta(minutes=1))
        recorded = parse_report(keep_asking(self.login, "report", until, self.world, encode_report(report)))
        return replace(recorded, problems=bounded(recorded.problems))
