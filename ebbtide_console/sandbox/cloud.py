"""A sandbox that is up: started, the template deployed, the agent in the archive, the catalogue rebuilt."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ebbtide_console import session
from ebbtide_console.sandbox import account, deploy
from ebbtide_console.sandbox.claim import claimed
from ebbtide_console.sandbox.enrol import RECEIVER
from ebbtide_console.sandbox.server import REGION, Sandbox
from ebbtide_console.sandbox.substrate import choose
from tools import build_agent, package

Tell = Callable[[str], None]

NETWORK = "10.77.0.0/16"
DOMAIN = "ebbtide.test"


@dataclass(frozen=True)
class Cloud:
    """What a night needs of the sandbox: the thing itself, where the agent is, the receiver's public host key."""

    sandbox: Sandbox
    agent: Path
    host_key: str

    @property
    def is_full(self) -> bool:
        return self.sandbox.substrate.kind == "full"

    @property
    def receiver_name(self) -> str:
        """Without a network of our own there is no name server either: the name is one that every machine knows."""
        return f"backup.{DOMAIN}" if self.is_full else "localhost"

    @property
    def allowed(self) -> str:
        """The networks that hosts come from."""
        return NETWORK if self.is_full else "127.0.0.0/8"


@contextmanager
def running(state: Path, port: int, tell: Tell) -> Iterator[Cloud]:
    """Start it on what an earlier one left in `state`; whatever happens, everything is let go of at the end."""
    with claimed(state):
        substrate = choose(state, REGION)
        tell(substrate.sentence)
        sandbox = Sandbox(state, substrate, port)
        try:
            sandbox.start()
            yield _deployed(sandbox, state, tell)
        finally:
            sandbox.stop()


def _deployed(sandbox: Sandbox, state: Path, tell: Tell) -> Cloud:
    domain = DOMAIN if sandbox.substrate.kind == "full" else "localhost"
    here = account.prepare(sandbox.endpoint, NETWORK, domain, REGION)
    stack = deploy.deploy(sandbox.endpoint, package.build_template(), here.parameters, REGION, _quietly)
    agent = state / "ebbtide-agent.pyz"
    build_agent.build(agent)
    objects = session.sandbox_client("s3", sandbox.endpoint, REGION)
    objects.upload_file(str(agent), stack.environment["EBBTIDE_BUCKET"], stack.environment["EBBTIDE_AGENT"])
    tell(f"AWS's wire protocol on {sandbox.endpoint}, region {REGION}; stack {deploy.STACK} deployed")
    rebuilt = session.invoke("rebuild", {"schema": 1})
    found = ", ".join(
        f"{count} {noun}" for noun, count in rebuilt.items() if isinstance(count, int) and noun != "schema"
    )
    tell(f"catalogue rebuilt from snapshots and archive: {found or 'nothing there yet'}")
    return Cloud(sandbox, agent, account.host_key(sandbox.endpoint, RECEIVER, REGION))


def _quietly(_: str) -> None:
    """What moto passes over is in deploy.py's tables; a night need not repeat it."""
