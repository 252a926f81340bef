"""Runs of hosts with volumes of their own: found by the reports that such hosts archive, opened, observed."""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import own_host, own_word, reported_at
from chalicelib.core.model import ExpectedHost, Run, RunId, Volume
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.core.volume_night import VolumeWorld
from chalicelib.errors import PermanentError, Refused
from chalicelib.flows.policies import find_policy
from chalicelib.flows.receive_report import Rejected, receive_reports
from chalicelib.ports import World

# Whatever lies longer than this came while no tick did: its promise has run out, and `stale` tells of the silence.
LOOK_BACK = timedelta(days=3)
# A host's clock may be ahead of ours; what is dated later than this never opens a run.
_AHEAD = timedelta(days=1)
# A host may add any number of keys below its own id, and every tick logs each fault.
_MOST_NAMED = 20


# -- finding ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reported:
    """The runs that wait for someone, open or still to be opened, and what was passed over."""

    runs: tuple[RunId, ...] = ()
    faults: tuple[str, ...] = ()


def find_own_runs(policy: Policy, world: World, now: datetime) -> Reported:
    """Of each host at most one run: the open one, else that of the oldest report that has none yet.

    One listing finds the reports of all hosts; a look into the catalogue for each tells which are new.
    """
    hosts = policy.own_volume_hosts()
    if not hosts:
        return Reported()
    faults: list[str] = []
    reported = _find_reported({host.id for host in hosts}, world, now, faults)
    waiting = [_waiting(host, reported[host.id], world, faults) for host in hosts]
    return Reported(tuple(run for run in waiting if run is not None), tuple(faults))


def _find_reported(known: AbstractSet[str], world: World, now: datetime, faults: list[str]) -> dict[str, list[RunId]]:
    """The runs that reports of the last days are of, by host, in the order of their times."""
    found: dict[str, list[RunId]] = defaultdict(list)
    astray: list[str] = []
    for key in world.archive.list(wire.HOST_REPORTS, after=wire.host_reports_before(now - LOOK_BACK)):
        try:
            run = wire.run_of_host_report_key(key)
        except PermanentError as fault:
            astray.append(str(fault))
        else:
            found[str(own_host(run))].append(run)
    faults += astray[:_MOST_NAMED]
    if len(astray) > _MOST_NAMED:
        faults.append(f"and {len(astray) - _MOST_NAMED} more keys that are none of a host's report")
    for stranger in sorted(found.keys() - known):
        faults.append(f"host {stranger} reports, and the policy in force gives it no volume of its own")
    return {host_id: sorted(run for run in found[host_id] if reported_at(run) <= now + _AHEAD) for host_id in known}


def _waiting(host: HostPolicy, reported: Sequence[RunId], world: World, faults: list[str]) -> RunId | None:
    """Among one more than were reported lately are all that these have opened, and the one that is open still."""
    try:
        runs = world.catalog.find_runs(own_word(host.id), limit=len(reported) + 1)
    except PermanentError as fault:  # the other hosts have their nights all the same
        faults.append(f"host {host.name}: {fault}")
        return None
    still_open = next((run.id for run in runs if not run.state.is_final), None)
    had = {run.id for run in runs}
    return still_open or next((run_id for run_id in reported if run_id not in had), None)


# -- opening ----------------------------------------------------------------------------------------------------------


def open_own_run(run_id: RunId, world: World, now: datetime) -> Run:
    """The run of a host's report, opened if it is not yet: all of it follows from the report and the policy in force.

    Raises Refused at a standby and while another run of the host is open, PermanentError when there is no such report
    or no such host.
    """
    if world.settings.is_standby:
        raise Refused("this region is a standby and makes no backups: the host reports to the region it stands by for")
    if reported_at(run_id) > now + _AHEAD:
        raise PermanentError(f"run {run_id} is yet to come: set the clock of host {own_host(run_id)}")
    # The archive first, and what it says holds: whoever opens the run, under whichever policy, opens the same one.
    world.archive.put_once(wire.own_brief_key(run_id), wire.own_brief(_read_run(run_id, world)))
    run = wire.parse_run_brief(world.archive.get(wire.own_brief_key(run_id)))
    if world.catalog.open_run(run):
        return run
    try:
        return world.catalog.get_run(run_id)
    except KeyError:
        raise Refused(f"run {run_id}: another run of its host is open; the tick opens this one afterwards") from None


def _read_run(run_id: RunId, world: World) -> Run:
    host, version = _find_host(run_id, world)
    opened = reported_at(run_id)
    try:
        deadline = _get_report(run_id, world).quiet_until
    except KeyError:
        raise PermanentError(f"there is no run {run_id}, and no report of host {own_host(run_id)} to open it") from None
    except PermanentError:
        # It opens its run all the same: so it is recorded, once, that this night gave nothing.
        deadline = opened
    return Run(run_id, version, opened, deadline, (ExpectedHost(host.name, host.id, nonce=""),))


def _get_report(run_id: RunId, world: World) -> wire.HostReport:
    """Raises KeyError when it is not there, PermanentError when it does not count."""
    return wire.parse_host_report(run_id, world.archive.get(wire.host_report_key(run_id)))


def _find_host(run_id: RunId, world: World) -> tuple[HostPolicy, str]:
    policy = find_policy(world)
    hosts = policy.own_volume_hosts() if policy else ()
    host = next((host for host in hosts if host.id == own_host(run_id)), None)
    if host is None or policy is None:
        raise PermanentError(
            f"run {run_id}: the policy in force has no host {own_host(run_id)} with a volume of its own"
        )
    return host, policy.version


# -- observing --------------------------------------------------------------------------------------------------------


def observe_own(run: Run, policy: Policy, world: World) -> tuple[VolumeWorld, tuple[Rejected, ...]]:
    """What is known of the run just now, and what of its report does not count."""
    received = receive_reports(run, world)
    report, unreadable = None, None
    try:
        report = _get_report(run.id, world).own
    except KeyError:
        unreadable = "it is not in the archive any more"
    except PermanentError as fault:
        unreadable = str(fault)
    (host,) = run.hosts
    taken = world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, tags.RECEIVER: run.id.receiver})
    own = [snapshot for snapshot in taken if snapshot.tags.get(tags.RUN) == str(run.id)]
    night = VolumeWorld(
        instance_id=str(policy.hosts[host.name].instance_id),
        volumes=_find_volumes(host.id, world),
        report=report,
        unreadable=unreadable,
        results=received.results,
        snapshots=tuple(own),
        last_taken=max((snapshot.started for snapshot in taken if snapshot not in own), default=None),
    )
    return night, received.rejected


def _find_volumes(host_id: str, world: World) -> tuple[Volume, ...]:
    found = world.volumes.find_volumes({tags.ROLE: tags.Role.HOST, tags.HOST: host_id})
    return tuple(volume for volume in found if volume.state not in ("deleting", "deleted", "error"))
