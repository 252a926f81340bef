"""Bring a run one night further: observe, plan, act, record, until nothing is left but to wait.

Every trigger ends here, and none of them says what to do: events are hints, state is truth.
"""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.model import Run, RunId
from chalicelib.core.night import plan
from chalicelib.core.night_actions import Action
from chalicelib.core.policy import Policy
from chalicelib.errors import PermanentError
from chalicelib.flows.observe import observe
from chalicelib.flows.policies import get_policy
from chalicelib.flows.receive_report import Rejected, receive_reports
from chalicelib.flows.settle import settle
from chalicelib.flows.steps import Night, act
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
    """Raises PermanentError when there is no such run, TransientError when AWS should be asked again later."""
    run = get_run(run_id, world)
    eyes = _Eyes(get_policy(run.policy_version, world), world, now)
    settled = settle(f"run {run_id}", run, eyes.next_steps, lambda step, run: act(step, run, eyes.night))
    return Outcome(settled.subject, settled.steps, settled.waiting, eyes.rejected, settled.overtaken)


def get_run(run_id: RunId, world: World) -> Run:
    """Raises PermanentError when there is none."""
    try:
        return world.catalog.get_run(run_id)
    except KeyError:
        raise PermanentError(f"there is no run {run_id}: `rebuild` finds runs the table has lost") from None


class _Eyes:
    """What was seen last: steps are done in its light."""

    night: Night

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
        observation = observe(run, self._policy, self._world)
        self.rejected = observation.rejected
        self.night = Night(self._policy, observation.night, self._world, self._now)
        return plan(run, observation.night, self._now)
