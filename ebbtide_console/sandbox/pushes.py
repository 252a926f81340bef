"""What cron does on every host of a night: the agents, started together, watched, and ended when we are."""

import getpass
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import RunId
from chalicelib.core.night_world import attempt_of
from chalicelib.errors import PermanentError
from chalicelib.flows.words import hear
from chalicelib.ports import World
from ebbtide_console import procs
from ebbtide_console.sandbox import trees
from ebbtide_console.sandbox.cloud import Cloud, Tell
from ebbtide_console.sandbox.enrol import Host, Place
from ebbtide_console.sandbox.waiting import wait_for


def push_all(cloud: Cloud, world: World, hosts: Sequence[Host], run: RunId, tell: Tell) -> None:
    """What cron does on every host that has not reported yet: start the agent. All at once.

    Raises PermanentError when an agent ends and its host has not reported: nobody would start it again tonight.
    """
    wanted = _without_report(world, hosts, run)
    if not wanted:
        return
    machine = _await_receiver(world, run, tell)
    login = "root" if cloud.is_full else getpass.getuser()
    place = Place(cloud.receiver_name, cloud.sandbox.substrate.ssh_port(machine), cloud.allowed, cloud.host_key)
    for host in wanted:
        trees.change_since_last_night(host.source, str(run))
        host.make_key()
        host.configure(place, login)
        tell(f"{host.name}: {host.source.origin}{_less(host.source)}")
    _run_agents(cloud, wanted, tell)
    silent = [host.name for host in _without_report(world, wanted, run)]
    if silent:
        raise PermanentError(f"{', '.join(silent)}: the agent ended without a report; its last lines say why")


def _without_report(world: World, hosts: Sequence[Host], run_id: RunId) -> list[Host]:
    """The archive knows before the catalogue does."""
    run = world.catalog.get_run(run_id)
    reported = set(world.archive.list(wire.report_prefix(run)))
    return [host for host in hosts if wire.report_key(run, host.id) not in reported]


def _await_receiver(world: World, run: RunId, tell: Tell) -> str:
    """The id of the receiver that is ready for hosts: not only one that was, before it was interrupted."""

    def ready() -> str | None:
        machines = world.machines.find({tags.RUN: str(run), tags.ROLE: tags.Role.RECEIVER})
        running = [machine for machine in machines if machine.state == "running"]
        words = hear(world.catalog.get_run(run), map(attempt_of, running), world)
        return next((machine.id for machine in running if attempt_of(machine) in words.ready), None)

    machine = wait_for(f"the receiver of {run} to be ready", ready)
    tell(f"receiver {machine} is ready")
    return machine


def _run_agents(cloud: Cloud, hosts: Sequence[Host], tell: Tell) -> None:
    """Each in a process of its own, until all have ended; an interruption ends them."""
    agents = {host: _start_agent(cloud, host) for host in hosts}
    try:
        with ThreadPoolExecutor(len(agents)) as pool:
            watching = [pool.submit(_watch, host, agent, tell) for host, agent in agents.items()]
            try:
                for watched in watching:
                    watched.result()
            except BaseException:
                for agent in agents.values():
                    agent.kill()
                raise
    finally:
        for agent in agents.values():
            agent.wait()


def _less(source: trees.Source) -> str:
    """The listed exclusions: what this user cannot read."""
    if not source.exclude:
        return ""
    return f", less {len(source.exclude)} that this user cannot read: {', '.join(source.exclude)}"


def _start_agent(cloud: Cloud, host: Host) -> procs.Process:
    agent = (sys.executable, str(cloud.agent), "run", "--etc", str(host.etc), "--state", str(host.state))
    command = cloud.sandbox.substrate.host_command(host.name, (*agent, "--progress", "lines"))
    return procs.start(command, stdout=procs.PIPE, stderr=procs.STDOUT)


def _watch(host: Host, agent: procs.Process, tell: Tell) -> None:
    assert agent.stdout is not None
    for line in agent.stdout:
        tell(f"{host.name}: {line.decode(errors='replace').rstrip()}")
    if agent.wait() != 0:
        tell(f"{host.name}: the agent ended with exit code {agent.returncode}")
