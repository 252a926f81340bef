"""Tell what has not been told: find it, claim it, send it, write down that it was sent.

Called when something closes and from the tick alike: what is told follows from what is, never from who called.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from chalicelib.core import dead_man
from chalicelib.core.alarms import Facts, Night, find_troubles, subjects
from chalicelib.core.dead_man import Ages
from chalicelib.core.disk import MOST_NIGHTS
from chalicelib.core.ids import own_word
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.core.telling import Letter, Message, bundles, claim, find_untold, letter
from chalicelib.errors import EbbtideError
from chalicelib.flows.enrolments import find_enrolments
from chalicelib.flows.policies import find_policy
from chalicelib.flows.wanted_copies import find_places
from chalicelib.ports import World

# A day may have runs beyond its night's own: attempts after a failed one, and runs begun by hand.
RUNS_A_DAY = 3


@dataclass(frozen=True)
class Unsent:
    """What could not be sent, and why: the next tick tries again."""

    subject: str
    why: str


@dataclass(frozen=True)
class Telling:
    """The subjects this call told, how much is wrong, and how old the newest points are."""

    sent: tuple[str, ...] = ()
    unsent: tuple[Unsent, ...] = ()
    troubles: int = 0
    ages: tuple[Ages, ...] = ()


def tell(world: World, now: datetime) -> Telling:
    """Never raises for what could not be sent: it stays claimed, and is taken over later."""
    policy = find_policy(world)
    if policy is None:
        return Telling()
    # Read before the facts: who judges by older facts than another teller then loses the claim, too.
    known = {told.about: told for told in world.catalog.find_told()}
    facts = _look(policy, world)
    troubles = find_troubles(facts, now)
    weekly = dead_man.weekly(facts, troubles, known, now)
    untold = (
        *find_untold(troubles, known, subjects(policy, find_places(policy, world)), now),
        *([weekly] if weekly else []),
    )
    ping = dead_man.good_night(facts, troubles, known, now)
    post = [_send(together, partial(_publish, policy, world), world, now) for together in bundles(untold)]
    # A standby knows only what has reached it: its ping would drown what is wrong in the region it stands by for.
    if ping and policy.alarm.ping and not world.settings.is_standby:
        post.append(_send([ping], partial(_ping, policy.alarm.ping, world), world, now))
    return Telling(
        sent=tuple(sent for sent in post if isinstance(sent, str)),
        unsent=tuple(sent for sent in post if isinstance(sent, Unsent)),
        troubles=len(troubles),
        ages=dead_man.ages(facts, now),
    )


def _look(policy: Policy, world: World) -> Facts:
    nights = {
        name: _nights(name, (policy.hosts[each] for each in receiver.hosts), world)
        for name, receiver in policy.receivers.items()
    }
    own = {own_word(host.id): _nights(own_word(host.id), (host,), world) for host in policy.own_volume_hosts()}
    points = tuple(world.catalog.find_points())
    return Facts(
        policy=policy,
        nights={**nights, **own},
        points=points,
        recoveries=tuple(world.catalog.find_recoveries()),
        pruning=world.catalog.find_pruning(),
        copying=tuple(each for each in world.catalog.find_copying() if each.place in find_places(policy, world)),
        preflight=world.catalog.find_preflight(),
        enrolled=find_enrolments(policy.hosts.values(), {point.host_id for point in points}, world),
    )


def _nights(name: str, hosts: Iterable[HostPolicy], world: World) -> tuple[Night, ...]:
    """As many of that name as the most patient of its hosts needs to be judged by, and the growth of its volume."""
    most = max(MOST_NIGHTS, *(RUNS_A_DAY * host.alarm_after for host in hosts))
    runs = world.catalog.find_runs(name, limit=most)
    return tuple(Night(run, tuple(world.catalog.find_results(run.id))) for run in runs if run.state.is_final)


def _send(
    messages: Sequence[Message], send: Callable[[Letter], None], world: World, now: datetime
) -> str | Unsent | None:
    """The subject of one letter of all that could be claimed; None when someone else is telling it."""
    claims = [(message, world.catalog.save_told(claim(message, now))) for message in messages]
    ours = [(message, claimed) for message, claimed in claims if claimed]
    if not ours:
        return None
    written = letter([message for message, _ in ours])
    try:
        send(written)
    except EbbtideError as fault:
        return Unsent(written.subject, str(fault))
    for _, claimed in ours:
        world.catalog.save_told(replace(claimed, told=now))
    return written.subject


def _publish(policy: Policy, world: World, written: Letter) -> None:
    world.alarms.publish(policy.alarm.topic, written.subject, written.body)


def _ping(url: str, world: World, _: Letter) -> None:
    world.watch.ping(url)
