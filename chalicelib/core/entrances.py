"""Who comes in to restored machines. All of them share one security group: it has every way that any of them wants."""

from collections.abc import Iterable
from datetime import datetime

from chalicelib.core.model import Recovery, RecoveryKind, Way
from chalicelib.core.verdicts import is_on_its_way_out

# Where a server is logged in to: whoever says no port wants this one, and whoever says some wants it as well.
SSH = 22

# As many rules as EC2 lets a security group have for networks of one kind (the quota L-0EA8095F).
MOST_WAYS = 60


def ways_to(ports: Iterable[int], networks: Iterable[str]) -> tuple[Way, ...]:
    """From each network to each port, and to ssh."""
    return tuple(Way(port, network) for port in sorted({SSH, *ports}) for network in sorted({*networks}))


def wanted(recoveries: Iterable[Recovery], now: datetime) -> frozenset[Way]:
    """What the restores that stand, or are about to, want between them."""
    return frozenset(way for each in recoveries if _may_be_entered(each, now) for way in each.ways)


def _may_be_entered(recovery: Recovery, now: datetime) -> bool:
    return recovery.kind is RecoveryKind.RESTORE and not is_on_its_way_out(recovery, now)


def told(ways: Iterable[Way]) -> str:
    """For an operator: `22, 80 from 198.51.100.0/24`."""
    networks: dict[str, list[str]] = {}
    for way in sorted(ways):
        networks.setdefault(way.network, []).append(str(way.port))
    return "; ".join(f"{', '.join(ports)} from {network}" for network, ports in networks.items())
