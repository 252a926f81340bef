"""What drills cost: each like the last ones, and as many a month as the policy wants, or as there were if that is more.

An estimate from above: a drill's machine stands no longer than from its launch until the drill is closed, and its
volume no longer than that. What is filled into the volume is billed by what the snapshot holds, however long it takes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import mean

from chalicelib.core import prices
from chalicelib.core.architectures import footing
from chalicelib.core.bill import Part
from chalicelib.core.ids import own_word
from chalicelib.core.model import Recovery, RecoveryKind
from chalicelib.core.policy import Policy
from chalicelib.core.recovery import RATES

# The drills that are judged by are those of four weeks; where the policy wants fewer, those of the time for one each.
_LEAST_DAYS = 28
_VOLUME_GIB_HOUR = prices.VOLUME_GIB_MONTH["gp3"] / prices.HOURS_A_MONTH
_FILLED_GIB = prices.FILLED_GIB_AT_A_MIB_A_SECOND * RATES[RecoveryKind.DRILL]


@dataclass(frozen=True)
class Drill:
    """For how many hours its machine stood at most, and of which type."""

    hours: float
    instance_type: str


@dataclass(frozen=True)
class Drills:
    """Those of a receiver's hosts, or of one with a volume of its own: the latest, begun within so many `days`, and how
    many the policy wants a month."""

    latest: tuple[Drill, ...] = ()
    days: int = _LEAST_DAYS
    wanted_a_month: float = 0.0

    @property
    def a_month(self) -> float:
        return max(self.wanted_a_month, len(self.latest) * prices.DAYS_A_MONTH / self.days)

    @property
    def instance_types(self) -> tuple[str, ...]:
        return tuple(sorted({drill.instance_type for drill in self.latest}))


def drills_of(recoveries: Iterable[Recovery], policy: Policy, now: datetime) -> Mapping[str, Drills]:
    """By the receiver that their points are of. One that never had a machine has cost nothing."""
    days, wanted = max(_LEAST_DAYS, policy.drill.every_days or 0), _wanted_a_month(policy)
    begun: dict[str, list[Drill]] = defaultdict(list)
    for each in recoveries:
        is_latest = each.kind is RecoveryKind.DRILL and each.opened > now - timedelta(days=days)
        if is_latest and each.machine_id is not None:
            begun[each.point.run.receiver].append(Drill(_hours(each, now), _instance_type(each, policy)))
    return {name: Drills(tuple(latest), days, wanted.get(name, 0.0)) for name, latest in begun.items()}


def part_of_drills(name: str, drills: Drills, volume_gib: int, filled_gib: float) -> Iterator[Part]:
    """Each with a volume of so many GiB, so many of them filled from the snapshot. Nothing before the first one."""
    if not drills.latest:
        return
    a_drill = mean(_usd(drill, volume_gib) for drill in drills.latest) + filled_gib * _FILLED_GIB
    hours, types = mean(drill.hours for drill in drills.latest), " or ".join(drills.instance_types)
    how = (
        f"about {drills.a_month:.1f}, each at most {hours:.2f} hours of a {types}, an address and {volume_gib} GiB, of "
        f"which {filled_gib:.1f} are filled"
    )
    yield Part(f"{name}: drills", drills.a_month * a_drill, how, is_of_drills=True)


def _usd(drill: Drill, volume_gib: int) -> float:
    """A machine that has no price here is said to have none, and costs nothing."""
    machine = prices.MACHINE_HOUR.get(drill.instance_type, 0.0)
    return drill.hours * (machine + prices.PUBLIC_ADDRESS_HOUR + volume_gib * _VOLUME_GIB_HOUR)


def _hours(drill: Recovery, now: datetime) -> float:
    """When it was launched is not known of one that was rebuilt, only that it was asked for before."""
    took = (drill.closed or now) - (drill.launched or drill.opened)
    return max(took, timedelta(0)) / timedelta(hours=1)


def _instance_type(drill: Recovery, policy: Policy) -> str:
    """As receivers have it, where nobody remembers."""
    return drill.instance_type or footing(None, policy, drill.point.run.receiver).instances[0]


def _wanted_a_month(policy: Policy) -> Mapping[str, float]:
    """Of each receiver, and of each host with a volume of its own."""
    every = policy.drill.every_days
    hosts = {name: len(receiver.hosts) for name, receiver in policy.receivers.items()}
    hosts |= {own_word(host.id): 1 for host in policy.own_volume_hosts()}
    return {name: count * prices.DAYS_A_MONTH / every for name, count in hosts.items()} if every else {}
