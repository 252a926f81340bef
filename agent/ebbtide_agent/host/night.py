"""One night of a host, as a sentence: lock, run the scripts, find the target ready, push, report."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Callable

from ebbtide_agent import VERSION, procs
from ebbtide_agent.errors import Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host import progress, scripts, survey
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.link import World
from ebbtide_agent.host.outcome import Counts, Outcome
from ebbtide_agent.host.push import Watch, push
from ebbtide_agent.host.scan import Tally
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.way import Way, way_to
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import FAILED, Hello, Report, ScriptResult, bounded, encode_report

Show = Callable[[progress.Progress], None]


@dataclass(frozen=True)
class Night:
    """What a night needs to know: where things are, the world outside, and who watches."""

    paths: HostPaths
    world: World
    environment: Mapping[str, str]
    show: Show = progress.nothing


def run(night: Night) -> Report:
    """Back this host up. Returns the report as the target recorded it.

    Raises ConfigError; Refused when another night is under way or the target says no; TransientError when it could
    not be reached in time; PermanentError when it is not the one we know.
    """
    config = configuration.load(night.paths)
    with locked(night.paths.lock):
        started = night.world.clock()
        ran = run_scripts(night, config)
        with way_to(config, night.paths, night.world) as way:
            hello = way.hello(started + timedelta(seconds=config.wait_seconds))
            outcome, taken = push_if_all_is_well(night, config, way, hello, ran)
            report = compose(config, hello, outcome, ran, started, night.world.clock())
            write_whole(night.paths.last_report, encode_report(report))
            recorded = way.deliver(hello, report)
        write_whole(night.paths.last_report, encode_report(recorded))
        if taken:
            survey.keep(taken, config, night.paths, recorded, night.world.say)
    return recorded


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One night at a time; the kernel lets go of the lock whatever ends us. Raises Refused."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another backup of this host is under way (it holds {path})") from None
        yield


def run_scripts(night: Night, config: Config) -> tuple[ScriptResult, ...]:
    ran = []
    for result in scripts.run_all(night.paths.scripts, config.script_seconds):
        night.world.say(f"script {result.name}: exit code {result.exit_code}, {result.seconds} s")
        ran.append(result)
    return tuple(ran)


def outcome_of_scripts(ran: tuple[ScriptResult, ...], config: Config) -> Outcome | None:
    """The night's outcome when a script failed: nothing is pushed then."""
    failed = [said for said in (scripts.problem(result, config.script_seconds) for result in ran) if said]
    return Outcome(FAILED, 1, Counts(), tuple(failed)) if failed else None


def push_if_all_is_well(
    night: Night, config: Config, way: Way, hello: Hello, ran: tuple[ScriptResult, ...]
) -> tuple[Outcome, Survey | None]:
    """What came of the push, and the survey that becomes the index once that is recorded."""
    stopped = outcome_of_scripts(ran, config) or outcome_of_places(config)
    if stopped:
        return stopped, None
    taken = survey.take(config, night.paths, hello.generation, night.world.clock(), night.world.say)
    return push_tree(night, config, way, hello, taken), taken


def outcome_of_places(config: Config) -> Outcome | None:
    """The night's outcome when something that should be backed up is not there: nothing is pushed then."""
    missing = tuple(missing_places(config))
    return Outcome(FAILED, 1, Counts(), missing) if missing else None


def push_tree(night: Night, config: Config, way: Way, hello: Hello, taken: Survey) -> Outcome:
    watch = Watch(hello.deadline, night.world, night.environment, progress.Reader(night.show).feed)
    outcome = push(config, way.route, way.passes(taken), watch)
    if taken.tally and not taken.course.in_full:
        outcome = replace(outcome, counts=counted(taken.tally, outcome.counts.bytes_sent))
    counts = outcome.counts
    night.world.say(f"push: {outcome.status}, {counts.files} files, {counts.bytes_sent} bytes sent")
    return outcome


def counted(tally: Tally, bytes_sent: int) -> Counts:
    """What the tree amounts to, when rsync was shown no more than what changed."""
    return Counts(tally.files, tally.entries, tally.size, bytes_sent)


def missing_places(config: Config) -> Iterator[str]:
    """What should be backed up and is not there: pushed all the same, it would be deleted from the backup."""
    if not config.root.is_dir() or not any(config.root.iterdir()):
        yield f"ROOT {config.root} is not a directory with anything in it; nothing was pushed"
        return
    for place in config.include:
        if next(glob.iglob(f"{glob.escape(str(config.root))}/{place.strip('/')}"), None) is None:  # noqa: PTH207
            yield f"{place}, which is to be backed up, is not there below {config.root}; nothing was pushed"


def compose(
    config: Config, hello: Hello, outcome: Outcome, ran: tuple[ScriptResult, ...], started: datetime, finished: datetime
) -> Report:
    return Report(
        run=hello.run,
        host=hello.host,
        id=hello.id,
        nonce=hello.nonce,
        status=outcome.status,
        started=started,
        finished=finished,
        exit_code=outcome.exit_code,
        files=outcome.counts.files,
        entries=outcome.counts.entries,
        bytes_total=outcome.counts.bytes_total,
        bytes_sent=outcome.counts.bytes_sent,
        scripts=ran,
        problems=bounded(outcome.problems),
        agent=VERSION,
        rsync=rsync_version(config.rsync),
        os=os_name(config.root),
        arch=platform.machine(),
    )


def rsync_version(program: str) -> str:
    match = re.match(rb"rsync\s+version\s+v?(\S+)", procs.run((program, "--version")).out)
    return match[1].decode("ascii", "replace") if match else "unknown"


def os_name(root: Path) -> str:
    """PRETTY_NAME of the tree that is backed up: what a restore will have to boot."""
    try:
        text = (root / "etc/os-release").read_text(errors="replace")
    except OSError:
        return "unknown"
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return match[1] if match else "unknown"
