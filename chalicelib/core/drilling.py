"""Whose drill is due: every host's at least as often as the policy says, and as few at a time as that takes. And which
drill says how a host's backup stands.
"""

from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from operator import attrgetter

from chalicelib.core.model import Recovery, RecoveryKind, RunId
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.core.recovery import lasts

# Who looks for what is due looks once an hour.
_AN_HOUR = timedelta(hours=1)
# All the time that a small server's may take: nobody knows beforehand how large the others are.
_A_DRILL = lasts(RecoveryKind.DRILL, size_gib=0)
_NEVER = datetime.min.replace(tzinfo=UTC)


def find_due(policy: Policy, recoveries: Iterable[Recovery], now: datetime) -> list[HostPolicy]:
    """Those whose last turn was too long ago, however it ended; who has waited longest comes first."""
    if policy.drill.every_days is None:
        return []
    apart = timedelta(days=policy.drill.every_days) - _AN_HOUR
    begun = _last_turns((each for each in recoveries if each.kind is RecoveryKind.DRILL), apart)
    due = [host for host in policy.hosts.values() if begun.get(host.id, _NEVER) <= now - apart]
    return sorted(due, key=lambda host: begun.get(host.id, _NEVER))


def _last_turns(drills: Iterable[Recovery], apart: timedelta) -> dict[str, datetime]:
    """When each host's was begun. A drill of an older point than that of the turn before it is none, unless it was time
    for one: then that is the newest there is left."""
    turns: dict[str, Recovery] = {}
    for drill in sorted(drills, key=attrgetter("opened")):
        before = turns.get(drill.id.host_id)
        if before is None or drill.point.at >= before.point.at or drill.opened >= before.opened + apart:
            turns[drill.id.host_id] = drill
    return {host_id: drill.opened for host_id, drill in turns.items()}


def stands_against(drill: Recovery, later: Recovery, there: Container[tuple[str, RunId]]) -> bool:
    """Whether a drill says how the backup of its host stands in spite of this later one: that is of an older point, and
    its own is among those that are still `there`, each by its host and its run. A copy has the run of its original."""
    return drill.point.at > later.point.at and (drill.point.host_id, drill.point.run) in there


def in_turn(due: Sequence[HostPolicy], at_once: int, now: datetime) -> list[HostPolicy]:
    """The first `at_once` keep their place. The others go round, as many an hour: nobody waits for good behind those
    that can never be drilled.
    """
    first, others = due[:at_once], due[at_once:]
    passed = int(now.timestamp()) // int(_AN_HOUR.total_seconds()) * at_once % max(1, len(others))
    return [*first, *others[passed:], *others[:passed]]


def room(policy: Policy, recoveries: Iterable[Recovery]) -> int:
    """How many more may be begun now: with so many at a time every host has its turn, if each takes all of its time."""
    if policy.drill.every_days is None:
        return 0
    at_a_time = ceil(len(policy.hosts) * _A_DRILL / timedelta(days=policy.drill.every_days))
    under_way = sum(each.kind is RecoveryKind.DRILL and not each.state.is_final for each in recoveries)
    return max(0, at_a_time - under_way)
