"""One night of a host, as a sentence: lock, run the scripts, find the target ready, push, report."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Callable

from ebbtide_agent import VERSION, procs
from ebbtide_agent.beside import Interfered, get_beside
from ebbtide_agent.errors import PermanentError, Unseen
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host import guards, health, identity, progress, scratch, scripts, survey
from ebbtide_agent.host.ahead import scanning
from ebbtide_agent.host.asked_for import missing_places
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.history import remember
from ebbtide_agent.host.link import World
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.look import look
from ebbtide_agent.host.manners import give_way
from ebbtide_agent.host.mark import marked, note_begun
from ebbtide_agent.host.mounts import as_scanned, mounted_throughout, read_mounts
from ebbtide_agent.host.named import Missed
from ebbtide_agent.host.outcome import Counts, Outcome, Remark, in_view_of, mended
from ebbtide_agent.host.push import Watch, push
from ebbtide_agent.host.rsync_walk import count
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.tally import Counted, Tally
from ebbtide_agent.host.way import Way, open_way
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import (
    FAILED,
    PARTIAL,
    SUSPECT,
    WITH_WARNINGS,
    Health,
    Hello,
    Report,
    ScriptResult,
    bounded,
    bounded_health,
)

# Between two clocks that are kept right there is less than this, however long the answer to a hello takes.
MOST_OFF_SECONDS = 60

# Little has changed since the last push, so the next one is soon done, and less vanishes from under it. What vanishes
# from the third as well would do so from any.
MOST_TIMES_MORE = 2

Show = Callable[[progress.Progress], None]


@dataclass(frozen=True)
class Night:
    """What a night needs to know: where things are, the world outside, who watches, and what the guards let pass.

    `gives_way`: this process, which then does nothing else, has the place behind others that its operator has chosen.
    """

    paths: HostPaths
    world: World
    environment: Mapping[str, str]
    show: Show = progress.nothing
    disks: health.Sources = health.THIS_HOST
    gives_way: bool = False
    accept_shrink: bool = False
    accept_rewrite: bool = False


@dataclass(frozen=True)
class Eve:
    """What there was to say of this host before the target was asked."""

    started: datetime
    machine: str
    ran: tuple[ScriptResult, ...]
    remarks: tuple[Remark, ...]
    health: tuple[Health, ...]


def run(night: Night) -> Report:
    """Back this host up. Returns the report as the target recorded it.

    Raises ConfigError; Refused when another night is under way, the target says no, or this is a copy of the host;
    TransientError when it could not be reached in time; PermanentError when it is not the one we know.
    """
    started = night.world.clock()
    with locked(night.paths.lock):
        # Whatever becomes of it, this is the night's run: one that cannot begin says so once, and not each hour.
        note_begun(night.paths.lock, started)
        scratch.clear(night.paths.scratch)
        config = configuration.load(night.paths)
        identity.check(night.paths, config.host)
        if night.gives_way:
            give_way(config.nice, config.ionice)
        return _run_whole(night, config, started)


def _run_whole(night: Night, config: Config, started: datetime) -> Report:
    until = until_when(night, config)
    with marked(night.paths.running, started) as of_the_last_run:
        machine = identity.machine_of(night.paths)
        ran = run_scripts(night, config, started)
        remarks = (*of_the_last_run, *remarks_on_doubts(config), *remarks_on(ran, config))
        eve = Eve(started, machine, ran, remarks, bounded_health(health.read_health(night.disks)))
        scan = scanning(config, night.paths, night.world.clock)
        with open_way(config, night.paths, night.world, machine) as way, scan as scanned:
            back_up_by = partial(back_up, night, config, way, eve, scanned)
            try:
                recorded, taken = back_up_by(until)
            except Unseen as unseen:
                night.world.say(f"{unseen}; saying hello once more")
                recorded, taken = back_up_by(until_when(night, config))
        remember(night.paths, recorded, night.world.say)
        if taken:
            keep(night, config, taken, recorded)
    return recorded


def until_when(night: Night, config: Config) -> datetime:
    """How long a target is waited for that is asked from now on."""
    return night.world.waiting() + timedelta(seconds=config.wait_seconds)


def back_up(
    night: Night, config: Config, way: Way, eve: Eve, scanned: Callable[[], Survey], until: datetime
) -> tuple[Report, Survey | None]:
    """Say hello, push and report: the night as it was recorded, and the survey that becomes the index with it.

    Raises Unseen when the target that was pushed to was lost before it had recorded that.
    """
    hello = way.hello(until)
    answered = night.world.clock()
    outcome, taken = push_if_all_is_well(night, config, way, hello, scanned)
    outcome = in_view_of((*eve.remarks, *remarks_on_clocks(hello, answered)), outcome)
    if taken and taken.checked:
        eve = replace(eve, health=bounded_health((*eve.health, *taken.checked.health())))
    report = compose(config, hello, outcome, eve, night.world.clock())
    remember(night.paths, report, night.world.say)
    return way.deliver(hello, report), taken


def run_scripts(night: Night, config: Config, started: datetime) -> tuple[ScriptResult, ...]:
    ran = []
    environment = scripts.environment_of(config.host, started, night.paths.dumps)
    for result in scripts.run_all(night.paths.scripts, config.script_seconds, environment):
        night.world.say(f"script {result.name}: exit code {result.exit_code}, {result.seconds} s")
        ran.append(result)
    return tuple(ran)


def remarks_on_doubts(config: Config) -> tuple[Remark, ...]:
    """One, however many there are, for a report has other things to say."""
    if not config.doubts:
        return ()
    first, others = config.doubts[0], len(config.doubts) - 1
    lines = "1 more line is" if others == 1 else f"{others} more lines are"
    said = f"{first} (and {lines} doubtful, see ebbtide-agent check)" if others else first
    return (Remark(WITH_WARNINGS, said),)


def remarks_on(ran: tuple[ScriptResult, ...], config: Config) -> tuple[Remark, ...]:
    found = (scripts.find_remark(result, config.script_seconds) for result in ran)
    return tuple(remark for remark in found if remark)


def remarks_on_clocks(hello: Hello, now: datetime) -> tuple[Remark, ...]:
    """Statuses go by the receiver's time; but what a file's time says to the index, and to people, is this host's."""
    off = (now - hello.now).total_seconds() if hello.now else 0.0
    if abs(off) < MOST_OFF_SECONDS:
        return ()
    how = f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the receiver's"
    return (
        Remark(WITH_WARNINGS, f"this host's clock is {how}: see that it is kept right (chrony, systemd-timesyncd)"),
    )


def push_if_all_is_well(
    night: Night, config: Config, way: Way, hello: Hello, scanned: Callable[[], Survey]
) -> tuple[Outcome, Survey | None]:
    """What came of the push, and the survey that becomes the index once that is recorded."""
    before = guards.find_baseline(night.paths.baseline)
    missing = tuple(missing_places(config, night.paths))
    if missing:
        return Outcome(SUSPECT if before else FAILED, 1, Counts(), missing), None
    taken = survey.in_view_of(hello.generation, scanned(), config, night.paths, night.world.say)
    taken = counted_for_the_guards(night, config, before, taken)
    lost = find_losses(night, config, before, taken)
    if lost:
        return Outcome(SUSPECT, 1, Counts(), lost), None
    outcome, taken = push_all_there_is(night, config, way, hello, taken)
    rewriting = guards.find_rewriting(config, before, taken.choice, taken.rewritten) if before else None
    if rewriting and not night.accept_rewrite:
        outcome = in_view_of((Remark(SUSPECT, rewriting),), outcome)
    return in_view_of(taken.checked.remarks() if taken.checked else (), outcome), taken


def counted_for_the_guards(night: Night, config: Config, before: guards.Baseline | None, taken: Survey) -> Survey:
    """The survey, of which rsync is asked what a guard needs to know and the agent could not count."""
    if taken.tally or before is None or night.accept_shrink or config.shrink is None:
        return taken
    return replace(taken, by_rsync=count(config))


def find_losses(night: Night, config: Config, before: guards.Baseline | None, taken: Survey) -> tuple[str, ...]:
    """What a guard holds the push of a survey back for, unless that is meant."""
    if before is None or night.accept_shrink:
        return ()
    mounts = mounted_throughout(taken.mounts, read_mounts())
    return guards.find_losses(config, before, taken.choice, taken.counted, mounts)


def push_all_there_is(night: Night, config: Config, way: Way, hello: Hello, taken: Survey) -> tuple[Outcome, Survey]:
    """Push; and where something vanished or was moved meanwhile, or may have been, scan again and push the difference.

    It may have a name now that this push did not come by. The survey is the one of the last push. Where there is no
    time to scan, or what it finds must not go over unseen, the next push is in full.
    """
    outcome = push_tree(night, config, way, hello, taken)
    is_overtaken = outcome.is_whole and survey.is_overtaken(taken, config, in_full=outcome.named is not None)
    missed = find_missed(config, outcome, taken)
    for _ in range(MOST_TIMES_MORE):
        if not (outcome.lacks_what_vanished or is_overtaken or missed.again):
            break
        within = seconds_to_scan(hello, night.world)
        if within is not None and within <= taken.seconds:
            night.world.say(f"{why_again(outcome)}, and no time is left to look")
            return without_a_look(config, outcome, taken, missed), replace(taken, unsure=True)
        night.world.say(f"{why_again(outcome)}: scanning and pushing once more")
        again = scanned_once_more(night, config, taken, outcome, missed, within)
        if objection := find_objection(night, config, taken, again):
            return without_what_changed(config, without(missed, outcome), taken, again, objection)
        night.world.say(str(again))
        if again.is_idle and not outcome.lacks_what_vanished:
            break
        outcome = mended(outcome, push_tree(night, config, way, replace(hello, empty=False), again))
        # Some programs replace a file every second: that alone is looked after once.
        taken, is_overtaken = again, False
        was_missed, missed = missed, find_missed(config, outcome, taken)
        if not missed.again:
            outcome = in_view_of(remarks_on_away(was_missed, WITH_WARNINGS, "pushed once more"), outcome)
    return without(missed, outcome), taken


def find_missed(config: Config, outcome: Outcome, pushed: Survey) -> Missed:
    """What a push in full did not come by, if it can tell: one that could not read everything has missed that."""
    is_telling = outcome.is_whole or outcome.lacks_what_vanished
    return survey.find_missed(pushed, outcome.named, config) if is_telling else Missed()


def remarks_on_away(missed: Missed, status: str, what_came_of_it: str) -> tuple[Remark, ...]:
    """One where something was away for as long as it took to delete it over there, or may have been."""
    if missed.unseen:
        return (Remark(PARTIAL, str(missed)),)
    return (Remark(status, f"{missed}: {what_came_of_it}"),) if missed.again else ()


def without(missed: Missed, outcome: Outcome) -> Outcome:
    """The outcome of a push in full after which nobody makes good what was away."""
    return in_view_of(remarks_on_away(missed, PARTIAL, "what is over there may lack it"), outcome)


def without_a_look(config: Config, outcome: Outcome, pushed: Survey, missed: Missed) -> Outcome:
    """The outcome of a push that no scan follows. If a file system is gone, a push in full may have deleted it."""
    if outcome.named and not is_mounted_as_when_scanned(config, pushed, None, read_mounts()):
        outcome = in_view_of((Remark(PARTIAL, "a file system went while everything was pushed"),), outcome)
    return without(missed, outcome)


def scanned_once_more(
    night: Night, config: Config, pushed: Survey, outcome: Outcome, missed: Missed, within: float | None
) -> Survey:
    """In a process that can be ended, whatever it waits for."""
    scan = partial(survey.once_more, pushed, outcome.vanished, missed.paths, config, night.paths)
    try:
        return get_beside("the second scan", scan, within)
    except Interfered as error:
        return survey.without_scan(pushed, error)


def without_what_changed(
    config: Config, outcome: Outcome, pushed: Survey, again: Survey, objection: str
) -> tuple[Outcome, Survey]:
    """The night of a push that nothing is pushed after, for that objection.

    If it was whole it stays so, and the next night judges what is gone by what was there before. But if a file system
    is gone, the push itself may have deleted what was on it.
    """
    said = f"what changed while the tree was pushed was not looked after: {objection}"
    is_mounted = is_mounted_as_when_scanned(config, pushed, again.counted, again.mounts)
    if not (outcome.is_whole and pushed.tally and is_mounted):
        return in_view_of((Remark(PARTIAL, said),), outcome), pushed
    outcome = replace(outcome, counts=counts_of(pushed.tally, outcome.counts.bytes_sent))
    return in_view_of((Remark(WITH_WARNINGS, said),), outcome), replace(pushed, unsure=True)


def is_mounted_as_when_scanned(
    config: Config, pushed: Survey, counted: Counted | None, mounts: Mapping[bytes, str]
) -> bool:
    earlier = guards.baseline_of(config, pushed.choice, pushed.counted, pushed.mounts)
    return guards.is_mounted_as_it_was(config, earlier, counted, mounts)


def why_again(outcome: Outcome) -> str:
    if outcome.named and not outcome.lacks_what_vanished:
        return "much may have changed while everything was compared"
    return "what was to be pushed was renamed or deleted meanwhile"


def find_objection(night: Night, config: Config, pushed: Survey, again: Survey) -> str | None:
    """Why what was scanned again must not be pushed: a guard would hold it back, by the last complete night or by what
    was pushed, or nobody could count it, and there was a count before."""
    if pushed.tally and not again.tally:
        return again.course.why
    before = guards.find_baseline(night.paths.baseline)
    try:
        again = counted_for_the_guards(night, config, before, again)
    except PermanentError as error:
        return str(error)
    earlier = guards.baseline_of(config, pushed.choice, pushed.counted, pushed.mounts)
    baselines = (before, earlier)
    if any(missing_places(config, night.paths)) or any(find_losses(night, config, each, again) for each in baselines):
        return "so much is gone that the next night's guards are to judge it"
    return None


def seconds_to_scan(hello: Hello, world: World) -> float | None:
    """How long a scan may take if as long is to be left to push what it finds; None where nobody tells the time."""
    return (hello.deadline - world.waiting()).total_seconds() / 2 if hello.now else None


def keep(night: Night, config: Config, taken: Survey, recorded: Report) -> None:
    """Remember a night that was recorded as complete: as the next one's index, and as what its guards compare with."""
    survey.keep(taken, config, night.paths, recorded, night.world.say)
    if recorded.is_complete:
        found = taken.tally.counted() if taken.tally else Counted(0, 0, 0)
        counted = replace(found, entries=recorded.entries, files=recorded.files, size=recorded.bytes_total)
        baseline = guards.baseline_of(config, taken.choice, counted, as_scanned(taken.mounts, read_mounts()))
        try:
            guards.keep_baseline(night.paths.baseline, baseline)
        except OSError as error:
            night.world.say(f"what the guards compare with was not kept: {error}")


def push_tree(night: Night, config: Config, way: Way, hello: Hello, taken: Survey) -> Outcome:
    watch = Watch(hello.deadline, night.world, night.environment, progress.Reader(night.show).feed)
    outcome = push(config, partial(way.route, hello), way.passes(hello, taken), watch)
    if taken.tally and (taken.course.by_index or not outcome.counts.entries):
        outcome = replace(outcome, counts=counts_of(taken.tally, outcome.counts.bytes_sent))
    counts = outcome.counts
    night.world.say(f"push: {outcome.status}, {counts.files} files, {counts.bytes_sent} bytes sent")
    return outcome


def counts_of(tally: Tally, bytes_sent: int) -> Counts:
    """What the tree amounts to, when rsync was shown lists of what changed, or did not come to its statistics."""
    return Counts(tally.files, tally.entries, tally.size, bytes_sent)


def compose(config: Config, hello: Hello, outcome: Outcome, eve: Eve, finished: datetime) -> Report:
    return Report(
        run=hello.run,
        host=hello.host,
        id=hello.id,
        nonce=hello.nonce,
        status=outcome.status,
        started=eve.started,
        finished=finished,
        exit_code=outcome.exit_code,
        files=outcome.counts.files,
        entries=outcome.counts.entries,
        bytes_total=outcome.counts.bytes_total,
        bytes_sent=outcome.counts.bytes_sent,
        scripts=eve.ran,
        problems=bounded(outcome.problems),
        agent=VERSION,
        rsync=rsync_version(config.rsync),
        os=os_name(config.root),
        arch=platform.machine(),
        machine=eve.machine,
        health=eve.health,
    )


def rsync_version(program: str) -> str:
    match = re.match(rb"rsync\s+version\s+v?(\S+)", procs.run((program, "--version")).out)
    return match[1].decode("ascii", "replace") if match else "unknown"


def os_name(root: Path) -> str:
    """PRETTY_NAME of the tree that is backed up: what a restore will have to boot."""
    try:
        text = look("a look at os-release", partial((root / "etc/os-release").read_text, errors="replace"))
    except (OSError, Interfered):
        return "unknown"
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return match[1] if match else "unknown"
