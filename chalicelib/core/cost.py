"""What a month costs, by list prices and by what the last nights did: an estimate, which says how it came about.

What AWS does not tell is guessed from above: a snapshot's billed size is the blocks that no earlier one holds, and
DescribeSnapshots does not say how many. The first one counts as all that is used on the volume, every later one as what
its hosts say they have sent since the one before: within what their receiver measured, for a host may say anything.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import mean

from chalicelib.core import prices
from chalicelib.core.bill import Cost, Part
from chalicelib.core.drill_cost import Drills, part_of_drills
from chalicelib.core.ids import said_of
from chalicelib.core.model import Disk, HostResult, Run
from chalicelib.core.policy import ReceiverPolicy

# An ordinary night of a small server on ext4 dirtied 74 MiB of EBS's blocks of 512 KiB when it was measured, although
# 5 MiB had changed: less than that no night counts as.
LEAST_GIB_A_NIGHT = 74 / 1024
_GIB = 1024**3
_A_DAY = timedelta(days=1)

# Of this application in CloudWatch, whatever the number of hosts: what is sent every hour, and the stack's alarms.
_METRICS, _METRICS_A_RECEIVER, _ALARMS = 4, 3, 3
NOT_COUNTED = (
    "restores, and what is open to its host: a machine, an address and a volume each, and filling that one",
    "what stands longer than it may, which is told by itself",
    "requests of Lambda, DynamoDB, S3, SNS and EventBridge, and the archive's bytes: cents, as a rule",
    "taxes, free tiers and discounts",
)


@dataclass(frozen=True)
class Night:
    """What a closed run took: hours, bytes that its hosts sent, and how full its receiver found the volume."""

    hours: float
    bytes_sent: int
    disk: Disk | None


@dataclass(frozen=True)
class Holding:
    """What one receiver has, or one host with a volume of its own: `nights` the newest first, its volumes now and
    those that were set aside, when its snapshots and copies were taken.

    One that is no longer in the policy has its snapshots still, and no `policy`.
    """

    name: str
    largest_snapshot_gib: int
    policy: ReceiverPolicy | None = None
    nights: tuple[Night, ...] = ()
    volumes_gib: tuple[int, ...] = ()
    aside_gib: tuple[int, ...] = ()
    snapshots: tuple[datetime, ...] = ()
    copies: tuple[datetime, ...] = ()
    is_copied: bool = False
    drills: Drills = field(default_factory=Drills)

    @property
    def instance(self) -> str | None:
        return self.policy.instances[0] if self.policy else None

    @property
    def hours_a_month(self) -> float:
        return mean(night.hours for night in self.nights) * prices.DAYS_A_MONTH if self.nights else 0.0

    @property
    def measured_gib(self) -> float | None:
        """What is used, as the last receiver that measured it has found."""
        return next((night.disk.used / _GIB for night in self.nights if night.disk), None)

    @property
    def whole_gib(self) -> float:
        return float(self.largest_snapshot_gib) if self.measured_gib is None else self.measured_gib

    @property
    def changed_gib_a_night(self) -> float:
        """Never more than there is, nor less than the volume has grown by, whatever its hosts say."""
        if not self.nights:
            return LEAST_GIB_A_NIGHT
        sent = [max(LEAST_GIB_A_NIGHT, min(self.whole_gib, night.bytes_sent / _GIB)) for night in self.nights]
        return max(mean(sent), self.grown_gib / len(self.nights))

    @property
    def grown_gib(self) -> float:
        """From one night that measured to the next one; what went again in between came all the same."""
        used = [night.disk.used for night in self.nights if night.disk]
        return sum(max(0, later - earlier) for later, earlier in pairwise(used)) / _GIB


def sent_by(results: Iterable[HostResult], run: Run) -> int:
    """What a night's hosts say they have sent: each no more than was found of it, all no more than the volume holds."""
    sent = sum(min(result.bytes_sent, _found_of(result)) for result in results)
    return min(sent, run.disk.used) if run.disk else sent


def estimate(holdings: Sequence[Holding]) -> Cost:
    """What all of this costs a month."""
    parts = [part for holding in holdings for part in _of_receiver(holding)] + list(_of_the_stack(holdings))
    unknown = (f"{what}: {each} has no price here" for holding in holdings for what, each in _unpriced(holding))
    return Cost(tuple(sorted(parts, key=lambda part: -part.usd)), (*dict.fromkeys(unknown), *NOT_COUNTED))


def _unpriced(holding: Holding) -> Iterator[tuple[str, str]]:
    """Whose machine is of what type."""
    machines = [(f"the machine of receiver {holding.name}", holding.instance)] if holding.instance else []
    machines += [("the machine of a drill", each) for each in holding.drills.instance_types]
    yield from (each for each in machines if each[1] not in prices.MACHINE_HOUR)


def _found_of(result: HostResult) -> int:
    """Where that was not measured it may be as much as it says."""
    used = result.quota.used if result.quota else None
    return result.bytes_sent if used is None else used


# -- parts ------------------------------------------------------------------------------------------------------------


def _of_receiver(holding: Holding) -> Iterator[Part]:
    name = said_of(holding.name)
    if holding.policy is not None:
        yield from _of_machines(name, holding)
        yield _of_volume(name, holding, holding.policy)
    if holding.aside_gib:
        gib = sum(holding.aside_gib)
        yield Part(f"{name}: volumes set aside", gib * _volume_price(holding.policy), f"{gib} GiB that were damaged")
    yield from _of_snapshots(name, holding)
    yield from part_of_drills(name, holding.drills, holding.largest_snapshot_gib, holding.whole_gib)


def _volume_price(policy: ReceiverPolicy | None) -> float:
    """Of a GiB for a month; of one that is no longer in the policy as of the usual type."""
    return prices.VOLUME_GIB_MONTH.get(policy.volume.type if policy else "", prices.VOLUME_GIB_MONTH["gp3"])


def _of_machines(name: str, holding: Holding) -> Iterator[Part]:
    """Nothing before the first night."""
    hours = holding.hours_a_month
    price = prices.MACHINE_HOUR.get(holding.instance or "")
    if price is not None and hours:
        yield Part(f"{name}: machine", hours * price, f"at most {hours:.1f} hours of a {holding.instance}")
    if hours:
        yield Part(f"{name}: public address", hours * prices.PUBLIC_ADDRESS_HOUR, f"at most {hours:.1f} hours")


def _of_volume(name: str, holding: Holding, policy: ReceiverPolicy) -> Part:
    """One that is there is paid for all month; an ephemeral one while its run is open."""
    volume, price = policy.volume, _volume_price(policy)
    if volume.mode == "ephemeral" and not holding.volumes_gib:
        part_of_month = holding.hours_a_month / prices.HOURS_A_MONTH
        return Part(f"{name}: volume", volume.size_gib * price * part_of_month, f"{volume.size_gib} GiB, by night only")
    gib = sum(holding.volumes_gib) or volume.size_gib
    return Part(f"{name}: volume", gib * price, f"{gib} GiB of {volume.type}")


def _of_snapshots(name: str, holding: Holding) -> Iterator[Part]:
    whole = holding.whole_gib
    is_measured = holding.measured_gib is not None
    first = f"{whole:.1f} GiB used" if is_measured else f"at most {whole:.0f} GiB, the whole volume"
    changed = holding.changed_gib_a_night
    for what, taken in (("snapshots", holding.snapshots), ("copies", holding.copies)):
        if taken:
            gib = stored_gib(taken, whole, changed)
            how = f"about {gib:.1f} GiB: {len(taken)} of them, the first {first}, then {changed:.2f} GiB a night"
            yield Part(f"{name}: {what}", gib * prices.SNAPSHOT_GIB_MONTH, how)
    if holding.is_copied:
        moved = changed * prices.DAYS_A_MONTH
        yield Part(f"{name}: sent to the other region", moved * prices.TRANSFER_GIB, f"at most {moved:.1f} GiB")


def stored_gib(taken: Sequence[datetime], whole_gib: float, changed_gib_a_night: float) -> float:
    """What EBS keeps of snapshots of one volume, taken then: the first whole, the later ones what changed in between.

    However long that was, it is no more than the whole.
    """
    if not taken:
        return 0.0
    gaps = [(later - earlier) / _A_DAY for earlier, later in pairwise(sorted(taken))]
    return whole_gib + sum(min(whole_gib, changed_gib_a_night * days) for days in gaps)


def _of_the_stack(holdings: Sequence[Holding]) -> Iterator[Part]:
    receivers = sum(holding.policy is not None for holding in holdings)
    metrics = _METRICS + _METRICS_A_RECEIVER * receivers
    usd = metrics * prices.METRIC_MONTH + _ALARMS * prices.ALARM_MONTH
    yield Part("CloudWatch", usd, f"{metrics} metrics that are sent every hour, and {_ALARMS} alarms")
    yield Part("the key of the alarms' topic", prices.KEY_MONTH, "one key of KMS")
