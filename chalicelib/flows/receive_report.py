"""Read what hosts reported of a run from the archive; what is not this run's own is refused and told, never fatal.

A receiver archives what it believes of its hosts; a host with a volume of its own archives its one report itself.
"""

from dataclasses import dataclass, replace

from chalicelib import wire
from chalicelib.core.ids import own_host
from chalicelib.core.model import ExpectedHost, HostResult, Run
from chalicelib.errors import PermanentError
from chalicelib.flows.own_keys import find_own_keys
from chalicelib.ports import World


@dataclass(frozen=True)
class Rejected:
    """A report that does not count, which host's it would be, and why."""

    host_id: str
    key: str
    why: str


@dataclass(frozen=True)
class Received:
    results: tuple[HostResult, ...]
    rejected: tuple[Rejected, ...]


def receive_reports(run: Run, world: World) -> Received:
    """Record every report that is new and this run's own; the results known then, in the order of their ids."""
    results = world.catalog.find_results(run.id)
    known = {result.id for result in results}
    new = [(host_id, key) for host_id, key in _find_reports(run, world) if host_id not in known]
    read = [_record(run, host_id, key, world) for host_id, key in new]
    rejected = tuple(each for each in read if each is not None)
    is_recorded = len(rejected) < len(new)
    return Received(tuple(world.catalog.find_results(run.id) if is_recorded else results), rejected)


def receive_report(run: Run, host_id: str, world: World) -> tuple[Rejected, ...]:
    """Record this one host's report, and look at no other: what a thousand hosts send at once costs each its own."""
    rejected = _record(run, host_id, wire.report_key(run, host_id), world)
    return (rejected,) if rejected else ()


def _record(run: Run, host_id: str, key: str, world: World) -> Rejected | None:
    """Why it does not count, if it does not."""
    try:
        expected = _get_expected(run, host_id)
        result = _own_result(run, expected, world.archive.get(key))
    except KeyError:
        return Rejected(host_id, key, "it was told of and is not in the archive")
    except PermanentError as fault:
        return Rejected(host_id, key, str(fault))
    world.catalog.record_result(result)
    return None


def _find_reports(run: Run, world: World) -> list[tuple[str, str]]:
    """The host each is of, and its key. Every machine may write there, also of hosts that the run does not expect."""
    own = own_host(run.id)
    if own is not None:
        return [(own, key) for key in world.archive.list(wire.host_report_key(run.id))]
    hosts = {wire.report_key(run, host.id): host.id for host in run.hosts}
    there = find_own_keys(wire.report_prefix(run), hosts, world.archive)
    return [(hosts[key], key) for key in sorted(there)]


def _get_expected(run: Run, host_id: str) -> ExpectedHost:
    """Raises PermanentError: what every machine may write there of others is not even read."""
    expected = next((host for host in run.hosts if host.id == host_id), None)
    if expected is None:
        raise PermanentError(f"run {run.id} does not expect a host {host_id}")
    return expected


def _own_result(run: Run, expected: ExpectedHost, body: bytes) -> HostResult:
    """The result a report carries, if run, host and nonce are those frozen into this run. Raises PermanentError.

    A host's own report has no nonce: only the host itself may write below its id (see `wire/own_volumes.py`). What it
    calls itself beside that id means nothing.
    """
    if own_host(run.id) is not None:
        return replace(wire.parse_host_report(run.id, body).result, name=expected.name)
    report = wire.parse_report(body)
    if (report.result.run, report.result.id, report.result.name) != (run.id, expected.id, expected.name):
        raise PermanentError(f"it speaks of host {report.result.id} in run {report.result.run}")
    if report.nonce != expected.nonce:
        raise PermanentError(f"its nonce is not the one given to host {expected.id} for run {run.id}")
    return report.result
