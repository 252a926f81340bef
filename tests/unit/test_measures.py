"""Numbers of what has ended: complete, with units CloudWatch knows, and never by host."""

from dataclasses import replace
from datetime import timedelta

from aws_lambda_powertools.metrics import MetricUnit

from chalicelib.core.alarms import Facts
from chalicelib.core.dead_man import Ages, ages
from chalicelib.core.measures import (
    TICKED,
    Measure,
    Name,
    Unit,
    of_pruning,
    of_recovery,
    of_run,
    of_telling,
    of_verdict,
)
from chalicelib.core.model import HostStatus, RecoveryKind, RunState, Times
from chalicelib.core.pruning import Stock, plan_prune
from chalicelib.core.retention import Rules
from tests.builders import a_moment, a_night, a_point, a_recovery, a_run_id, a_snapshot
from tests.own_volumes import DONE, a_policy_with_web1, an_own_result, an_own_run

A_NIGHT = a_night(23, RunState.DEGRADED, us0=HostStatus.COMPLETE, eu0=HostStatus.PARTIAL, us1=HostStatus.MISSING)
THREE = tuple(a_snapshot(f"snap-{day}", a_run_id(day)) for day in (21, 22, 23))
POINTS = tuple(a_point(snapshot_id=f"snap-{day}", run_id=a_run_id(day)) for day in (21, 22, 23))
A_PLAN = plan_prune(Stock(THREE, POINTS), lambda _: Rules(last=1), a_moment(9))


def by_name(measures: tuple[Measure, ...]) -> dict[str, float]:
    return {measure.name.value: measure.value for measure in measures}


def test_a_run_says_how_long_how_many_and_how_much() -> None:
    assert by_name(of_run(A_NIGHT.run, A_NIGHT.results)) == {
        "RunDuration": 3600.0,
        "HostsComplete": 1,
        "HostsNotComplete": 2,
        "BytesSent": 2000,
    }


def test_a_night_of_a_host_with_a_volume_of_its_own_is_measured_under_no_hosts_name() -> None:
    run = replace(an_own_run(state=RunState.DONE), closed=DONE + timedelta(hours=1))
    facts = Facts(a_policy_with_web1(), nights={}, points=(a_point("web1", run_id=run.id),))

    of_run_and_ages = (*of_run(run, (an_own_result(),)), *of_telling(0, 0, 0, ages(facts, a_moment(3))))

    assert by_name(of_run(run, (an_own_result(),)))["RunDuration"] == 3600.0
    assert {each.dimensions.get("receiver", "host.*") for each in of_run_and_ages} == {"main", "host.*"}
    assert [each.without for each in ages(facts, a_moment(3))] == [2, 0]


def test_a_recovery_says_how_long_it_took_and_how_it_ended() -> None:
    closed = replace(a_recovery(), verdict="proven", closed=a_moment(9, 30))

    assert of_recovery(closed) == (
        Measure(Name.RECOVERY_DURATION, 1800.0, Unit.SECONDS, {"kind": "drill", "verdict": "proven"}),
    )


def test_a_verdict_says_how_soon_it_answered_and_how_old_that_was() -> None:
    answered = replace(a_recovery(), times=Times(a_moment(9, 5), {}))
    never = replace(answered, times=None)
    restored = replace(answered, kind=RecoveryKind.RESTORE)
    kind = {"kind": "drill"}

    assert of_verdict(answered) == (
        Measure(Name.RTO, 300.0, Unit.SECONDS, kind),
        Measure(Name.RPO, 21600.0, Unit.SECONDS, kind),
    )
    assert by_name(of_verdict(never)) == {"RPO": 21600.0}
    assert by_name(of_verdict(restored)) == {"RTO": 300.0}
    assert of_verdict(a_recovery(RecoveryKind.OPENING)) == ()


def test_a_pruning_says_what_stays_and_what_goes() -> None:
    assert by_name(of_pruning(A_PLAN)) == {
        "SnapshotsKept": 1,
        "SnapshotsMarked": 2,
        "SnapshotsDeleted": 0,
        "PruneRefused": 0,
    }
    assert by_name(of_pruning(replace(A_PLAN, refused="no")))["PruneRefused"] == 1


def test_a_receiver_without_any_point_has_no_age_rather_than_a_young_one() -> None:
    without = of_telling(0, 0, 0, [Ages("main", None, None, 2)])

    assert by_name(without) == {"Troubles": 0, "AlarmsSent": 0, "AlarmsUnsent": 0, "HostsWithoutPoint": 2}


def test_every_metric_there_is_is_measured_in_a_unit_of_cloudwatchs_and_by_no_host() -> None:
    day = timedelta(days=1)
    everything = (
        *TICKED,
        *of_run(A_NIGHT.run, A_NIGHT.results),
        *of_recovery(a_recovery()),
        *of_verdict(replace(a_recovery(), times=Times(a_moment(9, 5), {}))),
        *of_pruning(A_PLAN),
        *of_telling(1, 2, 3, [Ages("main", day, day, 0)]),
    )

    assert {measure.name for measure in everything} == set(Name)
    assert {unit.value for unit in Unit} <= {unit.value for unit in MetricUnit}
    assert {key for measure in everything for key in measure.dimensions} == {"receiver", "state", "kind", "verdict"}
