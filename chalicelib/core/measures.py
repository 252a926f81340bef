"""What is measured of a run, a recovery, a pruning and a telling. `aws/metrics.py` emits it.

Dimensions are receivers, `host.*` for all hosts with volumes of their own, and how something ended, never hosts:
CloudWatch bills each combination as a metric of its own (0.30 USD a month, by the hours in which it is sent), which for
10,000 hosts would be 3,000 USD a month for one name. Which host it is stands in the alarm. What is sent once a night
costs about a cent a month.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from chalicelib.core.dead_man import Ages
from chalicelib.core.ids import OWN_VOLUMES, own_host
from chalicelib.core.model import HostResult, Recovery, RecoveryKind, Run
from chalicelib.core.night_world import complete_results
from chalicelib.core.pruning import PrunePlan
from chalicelib.core.recovery_times import rpo, rto


class Name(StrEnum):
    """Every metric there is; each is on the dashboard of infra/resources.yaml."""

    TICKS = "Ticks"
    RUN_DURATION = "RunDuration"
    HOSTS_COMPLETE = "HostsComplete"
    HOSTS_NOT_COMPLETE = "HostsNotComplete"
    BYTES_SENT = "BytesSent"
    RECOVERY_DURATION = "RecoveryDuration"
    RTO = "RTO"
    RPO = "RPO"
    SNAPSHOTS_KEPT = "SnapshotsKept"
    SNAPSHOTS_MARKED = "SnapshotsMarked"
    SNAPSHOTS_DELETED = "SnapshotsDeleted"
    PRUNE_REFUSED = "PruneRefused"
    NEWEST_POINT_AGE = "NewestPointAge"
    NEWEST_PROOF_AGE = "NewestProofAge"
    HOSTS_WITHOUT_POINT = "HostsWithoutPoint"
    TROUBLES = "Troubles"
    ALARMS_SENT = "AlarmsSent"
    ALARMS_UNSENT = "AlarmsUnsent"


class Unit(StrEnum):
    """CloudWatch's own words."""

    COUNT = "Count"
    SECONDS = "Seconds"
    BYTES = "Bytes"


@dataclass(frozen=True)
class Measure:
    name: Name
    value: float
    unit: Unit = Unit.COUNT
    dimensions: Mapping[str, str] = field(default_factory=dict)


# Its absence is the alarm: see TickIsSilent in infra/resources.yaml.
TICKED = (Measure(Name.TICKS, 1),)


def of_run(run: Run, results: Iterable[HostResult]) -> tuple[Measure, ...]:
    """Of a closed run; counted by its state, the duration says how many ended so."""
    results = tuple(results)
    receiver = {"receiver": run.id.receiver if own_host(run.id) is None else OWN_VOLUMES}
    complete = len(complete_results(run, results))
    took = (run.closed or run.deadline) - run.opened
    return (
        _lasted(Name.RUN_DURATION, took, {**receiver, "state": run.state.value}),
        Measure(Name.HOSTS_COMPLETE, complete, dimensions=receiver),
        Measure(Name.HOSTS_NOT_COMPLETE, len(run.hosts) - complete, dimensions=receiver),
        Measure(Name.BYTES_SENT, sum(result.bytes_sent for result in results), Unit.BYTES, receiver),
    )


def of_recovery(recovery: Recovery) -> tuple[Measure, ...]:
    """Of a closed one."""
    took = (recovery.closed or recovery.deadline) - recovery.opened
    ended = {"kind": recovery.kind.value, "verdict": str(recovery.verdict)}
    return (_lasted(Name.RECOVERY_DURATION, took, ended),)


def of_verdict(recovery: Recovery) -> tuple[Measure, ...]:
    """Of one whose verdict was recorded: RTO of a drill or restore that answered, and RPO of a drill alone, whose point
    is always the newest: a restore may be of any.
    """
    if recovery.kind is RecoveryKind.OPENING:
        return ()
    kind = {"kind": recovery.kind.value}
    after = rto(recovery)
    answered = () if after is None else (_lasted(Name.RTO, after, kind),)
    lost = (_lasted(Name.RPO, rpo(recovery), kind),) if recovery.kind is RecoveryKind.DRILL else ()
    return (*answered, *lost)


def of_pruning(plan: PrunePlan) -> tuple[Measure, ...]:
    """Of a plan that was applied."""
    return (
        Measure(Name.SNAPSHOTS_KEPT, sum(verdict.is_wanted for verdict in plan.verdicts)),
        Measure(Name.SNAPSHOTS_MARKED, len(plan.mark)),
        Measure(Name.SNAPSHOTS_DELETED, len(plan.delete)),
        Measure(Name.PRUNE_REFUSED, int(plan.refused is not None)),
    )


def of_telling(troubles: int, sent: int, unsent: int, ages: Iterable[Ages]) -> tuple[Measure, ...]:
    """How much is wrong, what was told of it and what could not be, and how old the points are."""
    return (
        Measure(Name.TROUBLES, troubles),
        Measure(Name.ALARMS_SENT, sent),
        Measure(Name.ALARMS_UNSENT, unsent),
        *(measure for each in ages for measure in _of_ages(each)),
    )


def _of_ages(ages: Ages) -> Iterable[Measure]:
    receiver = {"receiver": ages.receiver}
    yield Measure(Name.HOSTS_WITHOUT_POINT, ages.without, dimensions=receiver)
    if ages.newest is not None:
        yield _lasted(Name.NEWEST_POINT_AGE, ages.newest, receiver)
    if ages.proven is not None:
        yield _lasted(Name.NEWEST_PROOF_AGE, ages.proven, receiver)


def _lasted(name: Name, length: timedelta, dimensions: Mapping[str, str]) -> Measure:
    return Measure(name, length.total_seconds(), Unit.SECONDS, dimensions)
