"""What an operator does: through the doors, like everything else, and sees the error."""

from dataclasses import dataclass, replace
from typing import Any

from chalicelib.errors import ConfigError, PermanentError, Refused
from tests.sim.faults import Deed, Does
from tests.sim.night import Simulation
from tests.sim.receiver import A_MINUTE


@dataclass
class Operator:
    sim: Simulation

    def do(self, deed: Deed) -> None:
        self.sim.agenda.at(self.sim.started + deed.after, lambda: self._act(deed))

    def _act(self, deed: Deed) -> None:
        if deed.does is Does.LOSE_THE_TABLE:
            self.sim.lose_the_table()
            self._ask("rebuild", {})
        else:
            self._ask(deed.does.value, self._request(deed))

    def _ask(self, door: str, request: dict[str, Any]) -> None:
        """Until there is an answer, if only a refusal."""
        with self.sim.story.of(f"operator: {door} {request}"):
            try:
                self.sim.story.tell(f"    {self.sim.call(door, **request)}")
            except (Refused, ConfigError, PermanentError) as fault:
                self.sim.story.tell(f"    {type(fault).__name__}: {fault}")
            except Exception as fault:  # noqa: BLE001
                self.sim.story.tell(f"    {fault}: asks again")
                self.sim.agenda.after(A_MINUTE, lambda: self._ask(door, request))

    def _request(self, deed: Deed) -> dict[str, Any]:
        match deed.does:
            case Does.RUN_NOW:
                return {"receiver": deed.of}
            case Does.DRILL | Does.RESTORE:
                return {"host": deed.of, "at": None}
            case Does.APPLY:
                return {"text": replace(self.sim.scenario.policy, retention=deed.of).text, "expected": None}
            case _:
                return {"dry_run": False}
