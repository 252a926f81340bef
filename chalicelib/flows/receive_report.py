"""Read what hosts reported of a run from the archive; what is not this run's own is refused and told, never fatal."""

from dataclasses import dataclass

from chalicelib import wire
from chalicelib.core.model import HostResult, Run
from chalicelib.errors import PermanentError
from chalicelib.ports import World


@dataclass(frozen=True)
class Rejected:
    """A report that does not count, and why."""

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
    new = [key for key in world.archive.list(wire.report_prefix(run.id)) if _host_id(key) not in known]
    read = [_record(run, key, world.archive.get(key), world) for key in new]
    rejected = tuple(each for each in read if each is not None)
    is_recorded = len(rejected) < len(new)
    return Received(tuple(world.catalog.find_results(run.id) if is_recorded else results), rejected)


def receive_report(run: Run, host_id: str, world: World) -> tuple[Rejected, ...]:
    """Record this one host's report, and look at no other: what a thousand hosts send at once costs each its own."""
    key = wire.report_key(run.id, host_id)
    try:
        body = world.archive.get(key)
    except KeyError:
        return (Rejected(key, "it was told of and is not in the archive"),)
    rejected = _record(run, key, body, world)
    return (rejected,) if rejected else ()


def _record(run: Run, key: str, body: bytes, world: World) -> Rejected | None:
    """Why it does not count, if it does not."""
    try:
        result = _own_result(run, _host_id(key), body)
    except PermanentError as fault:
        return Rejected(key, str(fault))
    world.catalog.record_result(result)
    return None


def _host_id(key: str) -> str:
    return key.rsplit("/", 1)[-1].removesuffix(".json")


def _own_result(run: Run, host_id: str, body: bytes) -> HostResult:
    """The result a report carries, if run, host and nonce are those frozen into this run. Raises PermanentError."""
    report = wire.parse_report(body)
    expected = next((host for host in run.hosts if host.id == host_id), None)
    if expected is None:
        raise PermanentError(f"run {run.id} does not expect a host {host_id}")
    if (report.result.run, report.result.id, report.result.name) != (run.id, expected.id, expected.name):
        raise PermanentError(f"it speaks of host {report.result.id} in run {report.result.run}")
    if report.nonce != expected.nonce:
        raise PermanentError(f"its nonce is not the one given to host {host_id} for run {run.id}")
    return report.result
