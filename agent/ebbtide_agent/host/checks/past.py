"""What earlier nights say: whether one is still under way, how the last one ended, and whether the clock was right."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ebbtide_agent import moments
from ebbtide_agent.errors import AgentError
from ebbtide_agent.host import identity
from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok, warning
from ebbtide_agent.host.history import find_last
from ebbtide_agent.host.mark import find_mark
from ebbtide_agent.host.standing import LONG_AGO, find_unreported, holder_of
from ebbtide_agent.host.target import Receiver
from ebbtide_agent.report import COMPLETE

# A report may be under way for a while; a clock that is ahead shows at once.
_CLOCK_BEHIND = timedelta(minutes=15)
_CLOCK_AHEAD = timedelta(minutes=2)


def is_the_same_machine(scene: Scene) -> Iterator[Finding]:
    """A copy of a server is refused, before it pushes itself over the original; if install has told them apart."""
    try:
        identity.check(scene.paths, scene.config.host)
    except AgentError as error:
        what, *to_do = str(error).splitlines()
        yield fault(what, "; ".join(to_do))
        return
    if not scene.paths.installed.exists():
        what = f"{scene.paths.installed} is not there, so nobody would notice that this is a copy of the host"
        yield warning(what, "ebbtide-agent install writes down which machine this is, and its window")
    machine = identity.machine_of(scene.paths)
    if machine:
        yield ok(f"this is machine {machine}, by which a receiver tells it from a copy")
    elif closed := identity.find_closed(scene.paths):
        what = f"this user may not read {closed}, so a receiver is not told which machine this is"
        yield warning(
            what, "run the agent as root: it refuses whoever does not say, once the machine was heard in a run"
        )
    else:
        what = f"nothing tells this machine from a copy of it: there is no {scene.paths.machine_id}"
        yield warning(what, "systemd-machine-id-setup makes one; then ebbtide-agent install writes it down")


def is_free(scene: Scene) -> Iterator[Finding]:
    holder = holder_of(scene.paths.lock)
    if holder:
        yield warning(f"a backup is under way (process {holder})", "nothing, if it is over before tonight")
        return
    cut_short = find_mark(scene.paths.running)
    if cut_short:
        yield warning(
            f"the run of {cut_short} did not come to its end", "see who stopped it, or why the machine went down"
        )


def was_good(scene: Scene) -> Iterator[Finding]:
    last = find_last(scene.paths)
    if last is None:
        yield warning("no night of this host has been reported yet", "ebbtide-agent run, once the rest is in order")
        return
    unreported = None if holder_of(scene.paths.lock) else find_unreported(scene.paths.lock, last)
    if unreported:
        what = f"the run that began {moments.write(unreported)} left no report; the last that did was {last.status}"
        yield warning(what, "see what it said (journalctl -t ebbtide-agent, or cron's mail)")
        return
    when = f"the last night ended {moments.write(last.finished)}, {last.status}"
    if scene.now - last.finished > LONG_AGO:
        yield warning(f"{when}, and none since", "see why nothing starts the agent, or what its log says")
    elif last.status != COMPLETE:
        why = last.problems[0] if last.problems else "it does not say why"
        yield warning(f"{when}: {why}", "ebbtide-agent status says all there is to it")
    else:
        yield ok(when)


def clock_is_right(scene: Scene) -> Iterator[Finding]:
    """Against the last moment that another machine's clock told us; nothing is said where there is none."""
    last = find_last(scene.paths)
    if last is None or last.receiver is None or not isinstance(scene.config.target, Receiver):
        return
    told = last.receiver.received
    to_do = "set the clock, and see that something keeps it (timedatectl)"
    if scene.now < told - _CLOCK_AHEAD:
        yield warning(f"the clock is before {moments.write(told)}, when the receiver had the last report", to_do)
    elif last.finished - told > _CLOCK_AHEAD:
        yield warning(f"the clock was {last.finished - told} ahead of the receiver's at the last report", to_do)
    elif told - last.finished > _CLOCK_BEHIND:
        yield warning(f"the clock was up to {told - last.finished} behind the receiver's at the last report", to_do)
    else:
        yield ok("the clock agreed with the receiver's at the last report")
