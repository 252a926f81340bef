"""Nights that a long play of the simulator has found: what comes late, and what is forgotten in the middle."""

from datetime import timedelta

import pytest

from chalicelib.core.model import HostStatus
from tests.sim.faults import CallFault, Deed, Does, FaultPlan, HostNight, NoRoom, Pace, Says
from tests.sim.night import A_DAY, AN_HOUR, Scenario
from tests.sim.play import play
from tests.sim.policies import SomePolicy

A_MINUTE = timedelta(minutes=1)
# The reports of the third night are in, and its volume is not yet snapshotted.
AFTER_THE_PUSHES = 2 * A_DAY + 65 * A_MINUTE


def two_zones_and_a_lost_table(*calls: CallFault) -> Scenario:
    """The second night is partial and in another zone, so that a volume is left in each; the third goes back, and the
    table is lost after its pushes."""
    hosts = (HostNight(), HostNight(), HostNight(), HostNight(says=HostStatus.PARTIAL), HostNight())
    full = (
        NoRoom("zone-a", since=A_DAY - AN_HOUR, until=A_DAY + 6 * AN_HOUR),
        NoRoom("zone-b", since=2 * A_DAY - AN_HOUR, until=2 * A_DAY + 6 * AN_HOUR),
    )
    plan = FaultPlan(
        hosts=(*hosts, HostNight(at=100 * A_MINUTE)),
        no_room=full,
        deeds=(Deed(AFTER_THE_PUSHES, Does.LOSE_THE_TABLE),),
        calls=calls,
    )
    return Scenario(plan=plan, nights=3)


def test_snapshots_that_always_outlast_their_run_are_restore_points_all_the_same() -> None:
    plan = FaultPlan(pace=Pace(to_snapshot=17 * AN_HOUR))

    sim = play(Scenario(SomePolicy(retention="last = 1"), plan, nights=4))

    assert {point.host_id for point in sim.catalog.find_points()} == {"us0a", "eu0a"}


def test_a_run_that_has_forgotten_which_zone_was_full_snapshots_what_was_pushed_to() -> None:
    sim = play(two_zones_and_a_lost_table())

    assert len(sim.runs()) == 3


@pytest.mark.parametrize("skip", [0, 20, 35, 50])
def test_a_read_of_the_archive_that_is_denied_is_no_leave_to_guess(skip: int) -> None:
    since = AFTER_THE_PUSHES + 5 * A_MINUTE

    sim = play(two_zones_and_a_lost_table(CallFault("archive.get", Says.DENIED, skip=skip, since=since)))

    assert len(sim.runs()) == 3
