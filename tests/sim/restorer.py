"""What the machine of a recovery does: boot, find its volume, compare and report, or serve; then wait for its end.

A restored server is back before it is compared.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from chalicelib.core import tags
from chalicelib.fields import moment_text
from tests.sim.machines import Box
from tests.sim.receiver import A_MINUTE, Surroundings, power_off_timer, told_of

_EXAMPLES = Path(__file__).parents[1] / "contract" / "wire"
A_REPORT = json.loads((_EXAMPLES / "recovery-report.json").read_text())
A_WORD = json.loads((_EXAMPLES / "recovery-standing.json").read_text())
A_STEP = json.loads((_EXAMPLES / "recovery-step.json").read_text())
TO_COMPARE = timedelta(minutes=4)
TO_SERVE = timedelta(seconds=30)
TO_BE_BACK = timedelta(minutes=1)
# When it begins its steps, once it has its volume.
_A_MOMENT = timedelta(seconds=10)
TO_STAND = {step: each * _A_MOMENT for each, step in enumerate(("mount", "materialise", "boot", "probe"))}
TO_PROVE = {
    "mount": 0 * _A_MOMENT,
    "materialise": _A_MOMENT,
    "compare": 2 * _A_MOMENT,
    "boot": TO_COMPARE - 2 * _A_MOMENT,
    "probe": TO_COMPARE - _A_MOMENT,
}
LOOKS_FOR_THE_BRIEF = LOOKS_FOR_THE_VOLUME = 10


@dataclass
class Restorer:
    """One machine of one recovery."""

    box: Box
    around: Surroundings

    def start(self) -> None:
        if self.box.life.dies_after is not None:
            self.around.agenda.after(self.box.life.dies_after, self._power_off)
        if not self.box.life.hangs:
            self.around.agenda.after(power_off_timer(self.box), self._power_off)
        if self.box.life.gets_ready:
            self.around.agenda.after(self.box.life.boots_in, partial(self._begin, LOOKS_FOR_THE_BRIEF))

    def _begin(self, looks: int) -> None:
        if self.box.machine.state != "running":
            return
        if not self.around.archive.list(self._brief_key()):
            next_look = partial(self._begin, looks - 1) if looks else self._power_off
            self.around.agenda.after(A_MINUTE, next_look)
            return
        said = {"schema": 1, "recovery": self._brief()["recovery"], "attempt": self._attempt()}
        if "serve" not in self._brief():
            self.around.archive.put_once(self._key(f"begun/{self._attempt()}.json"), json.dumps(said).encode())
        self._find_volume(LOOKS_FOR_THE_VOLUME)

    def _find_volume(self, looks: int) -> None:
        volume_id = self._brief()["volume"]["id"]
        if self.around.volumes.has_device(volume_id, self.box.machine.id):
            if "serve" in self._brief():
                self.around.agenda.after(TO_SERVE, self._open)
                return
            self._restore(is_to_stay=self._brief()["kind"] == "restore")
        elif looks:
            self.around.agenda.after(A_MINUTE, lambda: self._find_volume(looks - 1))

    def _restore(self, is_to_stay: bool) -> None:
        after = self.around.agenda.after
        for step, begins in (TO_STAND if is_to_stay else TO_PROVE).items():
            after(begins, partial(self._say, step))
            if step == self.box.life.sticks_at:
                return
        if is_to_stay:
            after(TO_BE_BACK, self._be_back)
        after(TO_COMPARE, self._report)

    def _say(self, step: str) -> None:
        """That it begins this; no event."""
        if self.box.machine.state != "running":
            return
        begun = moment_text(self.around.agenda.now)
        said = {**A_STEP, "recovery": self._brief()["recovery"], "step": step, "begun": begun}
        key = self._key(f"begun/{self._attempt()}/{step}.json")
        self.around.archive.put_once(key, json.dumps(said).encode())

    def _open(self) -> None:
        """Read-only, until its time is over."""
        if self.box.machine.state != "running":
            return
        brief = self._brief()
        self.around.tell(f"{self.box.machine.id} serves {brief['host']} as it was in {brief['run']}")
        said = {"schema": 1, "recovery": brief["recovery"], "opened": moment_text(self.around.agenda.now)}
        self._put(self._key("opened.json"), said)
        if not self.box.life.hangs:
            self.around.agenda.at(datetime.fromisoformat(brief["serve"]["until"]), self._power_off)

    def _be_back(self) -> None:
        if self.box.machine.state != "running":
            return
        brief = self._brief()
        self.around.tell(f"{self.box.machine.id} is {brief['host']} again, and does not compare yet")
        who = {"recovery": brief["recovery"], "host": brief["host"], "id": brief["id"]}
        said = {**A_WORD, **who, "since": moment_text(self.around.agenda.now)}
        self._put(self._key("standing.json"), said)

    def _report(self) -> None:
        """What it finds follows from what is really on the volume."""
        if self.box.machine.state != "running" or not self.box.life.compares:
            return
        brief = self._brief()
        is_good = self.around.volumes.content[brief["volume"]["id"]].get(brief["id"]) == brief["run"]
        who = {"recovery": brief["recovery"], "host": brief["host"], "id": brief["id"]}
        found = {"verdict": "proven" if is_good else "different", "finished": moment_text(self.around.agenda.now)}
        self.around.tell(f"{self.box.machine.id} finds {brief['host']} {found['verdict']}")
        self._put(self._key("report.json"), {**A_REPORT, **who, **found})

    def _put(self, key: str, said: dict[str, Any]) -> None:
        """The archive knows before the event goes out."""
        self.around.archive.put_once(key, json.dumps(said).encode())
        detail = {"schema": 1, "recovery": said["recovery"]}
        self.around.emit("ebbtide.recovery", "Ebbtide Recovery Report", detail)

    def _brief(self) -> dict[str, Any]:
        return dict(json.loads(self.around.archive.get(self._brief_key())))

    def _brief_key(self) -> str:
        return told_of(self.box, "BRIEF")

    def _key(self, name: str) -> str:
        """Of what it says."""
        brief = self._brief()
        nonce = f"{brief['nonce']}/" if "nonce" in brief else ""
        return f"recoveries/{brief['recovery']}/{nonce}{name}"

    def _attempt(self) -> int:
        return int(self.box.machine.tags[tags.ATTEMPT])

    def _power_off(self) -> None:
        self.around.machines.terminate(self.box.machine.id)
