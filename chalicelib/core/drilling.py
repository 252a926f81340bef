"""Whose drill is due: every host's at least as often as the policy says, and as few at a time as that takes."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil

from chalicelib.core.model import Recovery, RecoveryKind
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.core.recovery import lasts

# Who looks for what is due looks once an hour.
_AN_HOUR = timedelta(hours=1)
# All the time that a small server's may take: nobody knows beforehand how large the others are.
_A_DRILL = lasts(RecoveryKind.DRILL, size_gib=0)
_NEVER = datetime.min.replace(tzinfo=UTC)


def find_due(policy: Policy, recoveries: Iterable[Recovery], now: datetime) -> list[HostPolicy]:
    """Those whose last drill was begun too long ago, however it ended; who has waited longest comes first."""
    if policy.drill.every_days is None:
        return []
    by_then = now - timedelta(days=policy.drill.every_days) + _AN_HOUR
    begun: dict[str, datetime] = {}
    for each in recoveries:
        if each.kind is RecoveryKind.DRILL:
            begun[each.id.host_id] = max(each.opened, begun.get(each.id.host_id, _NEVER))
    due = [host for host in policy.hosts.values() if begun.get(host.id, _NEVER) <= by_then]
    return sorted(due, key=lambda host: begun.get(host.id, _NEVER))


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
