"""Bring a run one night further: observe, plan, act, record, until nothing is left but to wait.

Every trigger ends here, and none of them says what to do: events are hints, state is truth.
"""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.model import Run, RunId
from chalicelib.core.night import plan
from chalicelib.core.night_actions import Action, Wait
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.observe import observe
from chalicelib.flows.policies import get_policy
from chalicelib.flows.receive_report import Rejected, receive_reports
from chalicelib.flows.steps import Night, act
from chalicelib.ports import World

# A whole night takes about ten passes; more than this is a plan that contradicts itself.
MOST_PASSES = 25


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
    try:
        run = world.catalog.get_run(run_id)
    except KeyError:
        raise PermanentError(f"there is no run {run_id}: `rebuild` finds runs the table has lost") from None
    policy = get_policy(run.policy_version, world)
    done: list[str] = []
    last: tuple[Action, ...] = ()
    for _ in range(MOST_PASSES):
        if run.state.is_final:
            # Late reports are on record, and that is all: points follow from the snapshot's tags.
            return Outcome(run, tuple(done), rejected=receive_reports(run, world).rejected)
        observation = observe(run, policy, world)
        actions = plan(run, observation.night, now)
        waiting = tuple(action.why for action in actions if isinstance(action, Wait))
        if len(waiting) == len(actions):
            return Outcome(run, tuple(done), waiting, observation.rejected)
        if actions == last:
            return Outcome(run, tuple(done), ("EC2 to show what it was just asked for",), observation.rejected)
        last = actions
        night = Night(policy, observation.night, world, now)
        for action in actions:
            saved = act(action, run, night)
            if saved is None:
                return Outcome(run, tuple(done), rejected=observation.rejected, overtaken=True)
            run = saved
            done.append(type(action).__name__)
    raise TransientError(f"run {run_id} does not settle; its last steps were {', '.join(done[-5:])}")
