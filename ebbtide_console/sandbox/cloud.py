"""A sandbox that is up: started, the template deployed, the agent in the archive, the catalogue rebuilt."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import Refused
from ebbtide_console import session
from ebbtide_console.sandbox import account
from ebbtide_console.sandbox.at_hand import AGENT
from ebbtide_console.sandbox.claim import claimed
from ebbtide_console.sandbox.deploy import STACK, Template
from ebbtide_console.sandbox.enrol import RECEIVER
from ebbtide_console.sandbox.region import Region
from ebbtide_console.sandbox.server import Sandbox
from ebbtide_console.sandbox.stack import Stack, deployed
from ebbtide_console.sandbox.substrate import choose
from tools import build_agent, package

Tell = Callable[[str], None]

NETWORK = "10.77.0.0/16"
DOMAIN = "ebbtide.test"
OPERATORS_KEY = "operator/key"
LAST_WORDS_SECONDS = 10.0  # for functions that still run when a night is over


@dataclass(frozen=True)
class Cloud:
    """What a night needs of the sandbox: the thing itself, its stack and the one that stands by for it, if any, where
    the agent is and the ssh key that an operator reads with, the receiver's public host key."""

    sandbox: Sandbox
    stack: Stack
    standby: Stack | None
    agent: Path
    operators_key: Path
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
def running(state: Path, port: int, tell: Tell, with_standby: bool = False) -> Iterator[Cloud]:
    """Start it on what an earlier one left in `state`; whatever happens, everything is let go of at the end."""
    with _started(state, port, tell) as sandbox:
        yield _furnished(sandbox, state, with_standby, tell)


@contextmanager
def outliving(state: Path, port: int, tell: Tell) -> Iterator[Sandbox]:
    """The second region alone, with what earlier nights have left there: the first one is out from the beginning.

    Raises Refused when no night has left anything there.
    """
    with _started(state, port, tell) as sandbox:
        first, second = sandbox.first, sandbox.second
        first.go_out()
        standby = _deployed(sandbox, second, package.build_template(), Role="standby")
        tell(f"AWS's wire protocol on {sandbox.endpoint}, region {second.name}; {first.name} is out")
        tell(f"catalogue rebuilt from copies and replica: {standby.rebuild()}")
        if not standby.world.catalog.find_points():
            raise Refused(f"no copy is in {second.name}: `ebbtide sandbox night --second-region` makes one")
        yield sandbox


@contextmanager
def _started(state: Path, port: int, tell: Tell) -> Iterator[Sandbox]:
    with claimed(state):
        substrate = choose(state)
        tell(substrate.sentence)
        sandbox = Sandbox(state, substrate, port)
        try:
            sandbox.start()
            yield sandbox
            sandbox.quiet(LAST_WORDS_SECONDS)
        finally:
            sandbox.stop()


def _furnished(sandbox: Sandbox, state: Path, with_standby: bool, tell: Tell) -> Cloud:
    """A standby comes first: the archive is replicated to its bucket."""
    template = package.build_template()
    first, second = sandbox.first, sandbox.second
    standby = _deployed(sandbox, second, template, Role="standby") if with_standby else None
    replica = standby.world.settings.bucket if standby else ""
    stack = _deployed(sandbox, first, template, ReplicaArchive=replica)
    agent = _put_agent(sandbox, stack, state)
    tell(f"AWS's wire protocol on {sandbox.endpoint}, region {first.name}; stack {STACK} deployed")
    tell(f"catalogue rebuilt from snapshots and archive: {stack.rebuild()}")
    host_key = account.host_key(sandbox.endpoint, RECEIVER, first.name)
    if standby:
        account.bring_host_key(sandbox.endpoint, RECEIVER, first.name, second.name)
        sandbox.replicate_older(stack.world.settings.bucket)
        tell(f"{second.name}: stack {STACK} stands by; catalogue rebuilt from copies and replica: {standby.rebuild()}")
    return Cloud(sandbox, stack, standby, agent, state / OPERATORS_KEY, host_key)


def _deployed(sandbox: Sandbox, region: Region, template: Template, **parameters: str) -> Stack:
    domain = DOMAIN if sandbox.substrate.kind == "full" else "localhost"
    here = account.prepare(sandbox.endpoint, NETWORK, domain, region.name)
    return deployed(sandbox, region, template, {**here.parameters, **parameters})


def _put_agent(sandbox: Sandbox, stack: Stack, state: Path) -> Path:
    agent = state / AGENT
    build_agent.build(agent)
    objects = session.sandbox_client("s3", sandbox.endpoint, stack.region.name)
    objects.upload_file(str(agent), stack.world.settings.bucket, stack.world.settings.agent)
    return agent
