"""Nights for tests, as they stand at one moment: briefed, launched, serving, spent."""

from dataclasses import replace
from datetime import timedelta

from chalicelib.core import tags
from chalicelib.core.model import Machine, Run
from chalicelib.core.night_actions import Action
from chalicelib.core.night_world import NightWorld
from tests.builders import a_machine, a_moment, a_receiver, a_result, a_run, a_volume

NETWORKS = ("198.51.100.0/24",)
OPENED, DEADLINE = a_moment(2), a_moment(6)
A_MINUTE = timedelta(minutes=1)


def a_night(**observed: object) -> NightWorld:
    """A briefed night with its volume, before anything was launched."""
    nothing_yet = NightWorld(
        receiver=a_receiver(),
        networks=NETWORKS,
        zones=("zone-a", "zone-b"),
        volumes=(a_volume(),),
        newest=None,
        briefed=frozenset({"vol-1"}),
        machines=(),
        ready=frozenset(),
        released=frozenset(),
        clean=frozenset(),
        address=None,
        open_to=(),
        results=(),
        snapshots=(),
    )
    return replace(nothing_yet, **observed)  # type: ignore[arg-type]


def a_receiver_machine(attempt: int = 1, state: str = "running") -> Machine:
    return a_machine(f"i-{attempt}", state, {tags.ATTEMPT: str(attempt)})


def a_launched_run(attempt: int = 1, **changes: object) -> Run:
    launched = replace(a_run(), machine_attempt=attempt, machine_launched=OPENED)
    return replace(launched, **changes)  # type: ignore[arg-type]


def a_serving_night(**observed: object) -> NightWorld:
    """The receiver stands, is ready and can be found."""
    serving = a_night(
        machines=(a_receiver_machine(),),
        volumes=(a_volume(attached_to="i-1"),),
        ready=frozenset({1}),
        address="10.0.0.1",
        open_to=NETWORKS,
    )
    return replace(serving, **observed)  # type: ignore[arg-type]


def a_spent_night(**observed: object) -> NightWorld:
    """The receiver is gone and has let go of the volume; both hosts are complete."""
    spent = a_night(
        machines=(a_receiver_machine(state="terminated"),),
        ready=frozenset({1}),
        released=frozenset({1}),
        clean=frozenset({1}),
        results=(a_result("us0"), a_result("eu0")),
    )
    return replace(spent, **observed)  # type: ignore[arg-type]


def kinds(actions: tuple[Action, ...]) -> list[type]:
    return [type(action) for action in actions]
