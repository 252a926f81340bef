"""Bring a run one night further: observe, plan, act, record, until nothing is left but to wait.

Every trigger ends here, and none of them says what to do: events are hints, state is truth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from chalicelib.core.ids import own_host
from chalicelib.core.model import Run, RunId
from chalicelib.core.night import plan
from chalicelib.core.night_actions import Action, RunAction
from chalicelib.core.policy import Policy
from chalicelib.core.volume_night import plan_volume
from chalicelib.errors import PermanentError
from chalicelib.flows import run_steps, steps
from chalicelib.flows.observe import observe
from chalicelib.flows.own_runs import observe_own, open_own_run
from chalicelib.flows.policies import get_policy
from chalicelib.flows.receive_report import Rejected, receive_reports
from chalicelib.flows.run_steps import Ground
from chalicelib.flows.settle import settle
from chalicelib.flows.steps import Night
from chalicelib.ports import World


@dataclass(frozen=True)
class Outcome:
    """What one reconciliation did, and what it waits for now; `overtaken` when someone else won a write."""

    run: Run
    steps: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    overtaken: bool = False


def reconcile(run_id: RunId, world: World, now: datetime) -> Outcome:
    """A host's own run is opened by its report, if nobody has yet.

    Raises PermanentError when there is no such run, TransientError when AWS should be asked again later.
    """
    run = get_run(run_id, world) if own_host(run_id) is None else _get_or_open(run_id, world, now)
    eyes = _Eyes(get_policy(run.policy_version, world), world, now)
    settled = settle(f"run {run_id}", run, eyes.next_steps, lambda step, run: eyes.act(step, run))
    return Outcome(settled.subject, settled.steps, settled.waiting, eyes.rejected, settled.overtaken)


def get_run(run_id: RunId, world: World) -> Run:
    """Raises PermanentError when there is none."""
    try:
        return world.catalog.get_run(run_id)
    except KeyError:
        raise PermanentError(f"there is no run {run_id}: `rebuild` finds runs the table has lost") from None


def _get_or_open(run_id: RunId, world: World, now: datetime) -> Run:
    try:
        return world.catalog.get_run(run_id)
    except KeyError:
        return open_own_run(run_id, world, now)


class _Eyes:
    """What was seen last: steps are done in its light."""

    act: Callable[[Any, Run], Run | None]

    def __init__(self, policy: Policy, world: World, now: datetime) -> None:
        self._policy = policy
        self._world = world
        self._now = now
        self.rejected: tuple[Rejected, ...] = ()

    def next_steps(self, run: Run) -> tuple[Action, ...]:
        if run.state.is_final:
            # Late reports are on record, and that is all: points follow from the snapshot's tags.
            self.rejected = receive_reports(run, self._world).rejected
            return ()
        return self._of_a_receiver(run) if own_host(run.id) is None else self._of_an_own_volume(run)

    def _of_a_receiver(self, run: Run) -> tuple[Action, ...]:
        observation = observe(run, self._policy, self._world)
        self.rejected = observation.rejected
        night = Night(self._policy, observation.night, self._world, self._now)
        self.act = partial(steps.act, night=night)
        return plan(run, observation.night, self._now)

    def _of_an_own_volume(self, run: Run) -> tuple[RunAction, ...]:
        night, self.rejected = observe_own(run, self._policy, self._world)
        ground = Ground(self._policy, night.results, self._world, self._now)
        self.act = partial(run_steps.act, ground=ground)
        return plan_volume(run, night, self._now)
