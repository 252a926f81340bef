"""What an operator does: through the doors, like everything else, and sees the error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.errors import ConfigError, PermanentError, Refused
from tests.sim.faults import Deed, Does
from tests.sim.night import AN_HOUR, Simulation
from tests.sim.policies import SomePolicy
from tests.sim.receiver import A_MINUTE
from tests.sim.standby import Standby

CHANGES: Mapping[Does, Callable[[SomePolicy, str], SomePolicy]] = {
    Does.APPLY: lambda policy, rules: replace(policy, retention=rules),
    Does.COPY: lambda policy, rules: replace(policy, copies=rules),
    Does.REMOVE: lambda policy, host: policy.without(host),
    Does.ADD: lambda policy, host: policy.with_host(host),
}


@dataclass
class Operator:
    """`policy` is the last one that was written, whether it came into force or not."""

    sim: Simulation
    policy: SomePolicy = field(init=False)

    def __post_init__(self) -> None:
        self.policy = self.sim.scenario.policy

    def do(self, deed: Deed) -> None:
        self.sim.agenda.at(self.sim.started + deed.after, lambda: self._act(deed))

    def _act(self, deed: Deed) -> None:
        if deed.does is Does.LOSE_THE_TABLE:
            self.sim.lose_the_table()
            self._ask("rebuild", {}, insists=True)
        elif deed.does is Does.DRILL_THERE:
            self._ask("drill", {"host": deed.of, "at": None}, self.sim.standby)
        elif deed.does in CHANGES:
            self.policy = CHANGES[deed.does](self.policy, deed.of)
            self._ask("apply_policy", {"text": self.policy.text, "expected": None})
        else:
            self._ask(deed.does.value, self._request(deed))

    def _ask(self, door: str, request: dict[str, Any], there: Standby | None = None, insists: bool = False) -> None:
        """Until there is an answer, if only a refusal; in the second region or, mostly, in the first.

        Who insists mends what was refused, and asks again.
        """

        def again() -> None:
            self._ask(door, request, there, insists)

        with self.sim.story.of(f"operator: {door} {request}"):
            try:
                answer = (there or self.sim).call(door, **request)
                self.sim.story.tell(f"    {answer}")
                self._remember(door, answer)
            except (Refused, ConfigError, PermanentError) as fault:
                self.sim.story.tell(f"    {type(fault).__name__}: {fault}")
                if insists:
                    self.sim.agenda.after(AN_HOUR, again)
            except Exception as fault:  # noqa: BLE001
                self.sim.story.tell(f"    {fault}: asks again")
                self.sim.agenda.after(A_MINUTE, again)

    def _remember(self, door: str, answer: Mapping[str, Any]) -> None:
        if door == Does.HOLD:
            self.sim.held.add(answer["snapshot"])
        if door == Does.RELEASE:
            self.sim.held.discard(answer["snapshot"])

    def _request(self, deed: Deed) -> dict[str, Any]:
        match deed.does:
            case Does.RUN_NOW:
                return {"receiver": deed.of}
            case Does.DRILL | Does.RESTORE:
                return {"host": deed.of, "at": None}
            case Does.OPEN:
                return {"host": deed.of, "at": None, "minutes": 60}
            case Does.CLOSE:
                return {"of": deed.of}
            case Does.HOLD:
                return {**_target(deed.of), "why": "a case at court", "by": "ann", "dry_run": False}
            case Does.RELEASE:
                return {**_target(deed.of), "dry_run": False}
            case Does.FORGET:
                return {"host": deed.of, "by": "ann", "dry_run": False}
            case _:
                return {"dry_run": False}


def _target(of: str) -> dict[str, str]:
    """A snapshot by its id, or the newest point of a host."""
    return {"snapshot": of} if of.startswith("snap-") else {"host": of}
