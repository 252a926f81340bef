"""The times and counts of a night as documented: other tests take them from the code, this one does not."""

from datetime import timedelta

from chalicelib.core import copying, night, one_snapshot, sweep


def test_a_nights_times_and_counts_are_those_that_are_documented() -> None:
    minutes = {
        name: getattr(room, name) // timedelta(minutes=1)
        for room, names in (
            (night, ("GRACE", "MACHINE_SETTLES", "READY_WITHIN", "LOOKED_THROUGH_WITHIN", "LEAST_TIME_LEFT")),
            (one_snapshot, ("SNAPSHOT_SETTLES", "GIVE_UP")),
        )
        for name in names
    }
    counts = {name: getattr(night, name) for name in ("MOST_UNREADY", "MOST_MACHINES")}
    counts["MOST_SNAPSHOTS"] = one_snapshot.MOST_SNAPSHOTS

    assert minutes == {
        "GRACE": 30,
        "MACHINE_SETTLES": 2,
        "SNAPSHOT_SETTLES": 5,
        "READY_WITHIN": 15,
        "LOOKED_THROUGH_WITHIN": 75,
        "LEAST_TIME_LEFT": 10,
        "GIVE_UP": 12 * 60,
    }
    assert counts == {"MOST_UNREADY": 2, "MOST_MACHINES": 3, "MOST_SNAPSHOTS": 2}


def test_the_graces_of_copies_and_of_the_sweep_are_those_that_are_documented() -> None:
    assert (
        timedelta(minutes=5),
        timedelta(hours=1),
        20,
    ) == (copying.COPY_SETTLES, copying.RETRY_AFTER, copying.MOST_AT_ONCE)
    assert timedelta(minutes=15) == sweep.GRACE
