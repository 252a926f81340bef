"""The stack, deployed into one region of the sandbox: what its functions see, and how they are invoked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import wiring
from chalicelib.ports import World
from ebbtide_console import session
from ebbtide_console.sandbox.deploy import Template, deploy
from ebbtide_console.sandbox.region import Region
from ebbtide_console.sandbox.server import Sandbox, client_environment


@dataclass(frozen=True)
class Stack:
    """`world` is read from; whatever changes anything is invoked."""

    region: Region
    world: World

    def invoke(self, function: str, **values: Any) -> dict[str, Any]:
        """The answer of one of its functions, by the short name."""
        return session.invoke(function, {"schema": 1, **values}, self.region.name)

    def rebuild(self) -> str:
        """Have its catalogue made again, and say what was found."""
        counts = self.invoke("rebuild")
        found = [f"{count} {noun}" for noun, count in counts.items() if isinstance(count, int) and noun != "schema"]
        return ", ".join(found) or "nothing there yet"


def deployed(sandbox: Sandbox, region: Region, template: Template, parameters: Mapping[str, str]) -> Stack:
    """The template, in a region that has none yet."""
    made = deploy(sandbox.endpoint, template, parameters, region.name, _quietly)
    return Stack(region, wiring.world_of({**client_environment(sandbox.endpoint, region.name), **made.environment}))


def _quietly(_: str) -> None:
    """What moto passes over is in deploy.py's tables; a night need not repeat it."""
