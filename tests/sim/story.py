"""The story of a simulated night: one line for each thing that happened, with its time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.sim.clock import Agenda


@dataclass
class Story:
    """What knocked at a door stands before what came of it, and falls away when nothing did."""

    agenda: Agenda
    lines: list[tuple[datetime, str]] = field(default_factory=list)
    _knocked: str | None = None

    @contextmanager
    def of(self, knocked: str) -> Iterator[None]:
        """What is told inside came of this."""
        self._knocked = knocked
        yield
        self._knocked = None

    def tell(self, line: str) -> None:
        if self._knocked is not None:
            self.lines.append((self.agenda.now, self._knocked))
            self._knocked = None
        self.lines.append((self.agenda.now, line))

    def __str__(self) -> str:
        return "\n".join(f"{at:%m-%d %H:%M:%S}  {line}" for at, line in self.lines)


class Listener:
    """Stands for the program's own log: its lines are the story's; what was said of a run already is not repeated."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._said: dict[str, str] = {}

    def info(self, message: str, extra: dict[str, Any] | None = None, **said: Any) -> None:
        told = _LINES.get(message)
        line = told({**said, **(extra or {})}) if told else f"    {message}"
        about = str((extra or said).get("run"))
        if line and self._said.get(about) != line:
            self._said[about] = line
            self.story.tell(line)

    warning = error = info

    def exception(self, message: str, **said: Any) -> None:
        """The fault itself says what it is about."""
        self.info(f"{message} {sys.exception()}".rstrip())


def _ticked(said: dict[str, Any]) -> str:
    return f"    opens {', '.join(said['opened'])}" if said["opened"] else ""


def _reconciled(said: dict[str, Any]) -> str:
    about = said.get("run") or said.get("recovery")
    if not (said["steps"] or said["waiting"] or said["overtaken"]):
        return ""
    if said["overtaken"]:
        return f"    {about}: someone else was faster"
    did, waits = ", ".join(said["steps"]), "; ".join(said["waiting"])
    return f"    {about} {said['state']}: " + " | ".join(part for part in (did, waits and f"waits for {waits}") if part)


def _rejected(said: dict[str, Any]) -> str:
    return f"    rejected {said['report']}: {said['why']}"


def _pruned(said: dict[str, Any]) -> str:
    refused = f", refused: {said['refused']}" if said["refused"] else ""
    return f"    pruned: marked {said['marked']}, deleted {said['deleted']}{refused}"


def _copied(said: dict[str, Any]) -> str:
    return f"    asks for copies of {', '.join(said['asked'])}" if said["asked"] else ""


def _not_copied(said: dict[str, Any]) -> str:
    return f"    copy of {said['snapshot']}: {said['why']}"


def _swept(said: dict[str, Any]) -> str:
    return "".join(f"    sweeps {what}: {why}" for what, why in said["removed"].items())


def _untold(said: dict[str, Any]) -> str:
    return f"    could not tell: {said['subject']}: {said['why']}"


def _silent(_: dict[str, Any]) -> str:
    """What is told is heard, and then it is told there."""
    return ""


def _found(said: dict[str, Any]) -> str:
    return f"    found by day: {said['what']}"


_LINES = {
    "ticked": _ticked,
    "reconciled": _reconciled,
    "report rejected": _rejected,
    "pruned": _pruned,
    "copied": _copied,
    "copy failed": _not_copied,
    "swept": _swept,
    "found by day": _found,
    "told": _silent,
    "not told": _untold,
}
