"""Letting go: nobody may begin, what runs is ended, the volume is synced, measured and unmounted; that is recorded."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict

from ebbtide_agent import moments, procs, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError
from ebbtide_agent.instance import Instance
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.brief import Brief, Caller
from ebbtide_agent.receiver.lease import find_holder
from ebbtide_agent.receiver.ledger import event_source, tell
from ebbtide_agent.shapes import encode

_PAUSE_SECONDS = 0.1
# The answer to the last report is on its way when we let go: a host that misses it asks in vain until the deadline.
HEARING_SECONDS = 2.0


def release(instance: Instance, brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock, sshd: procs.Child) -> bool:
    """Release the volume and record it. True when it was let go cleanly; the snapshot is crash-consistent otherwise."""
    paths.closing.touch()
    procs.end(sshd)
    time.sleep(HEARING_SECONDS)
    end_sessions(paths, brief.hosts, brief.grace.total_seconds() / 2)
    procs.end_group(sshd)
    usage = volume.measure(paths.volume)
    clean = _let_go(paths)
    key = f"runs/{instance.id}/released/{instance.attempt}.json"
    body: dict[str, object] = {
        "run": instance.id,
        "attempt": instance.attempt,
        "at": moments.write(now()),
        "clean": clean,
    }
    body["disk"] = asdict(usage) if usage else None
    cloud.put_once(key, encode(body))
    detail = {"run": instance.id, "attempt": instance.attempt}
    tell(cloud, event_source(brief), "Ebbtide Receiver Released", detail, time.sleep)
    return clean


def end_sessions(paths: MachinePaths, hosts: Sequence[Caller], patience: float) -> None:
    """Ask every session to stop, and make it after so many seconds: a push ends at once, a record is finished."""
    _signal_sessions(paths, hosts, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while _holders(paths, hosts) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    _signal_sessions(paths, hosts, signal.SIGKILL)


def _holders(paths: MachinePaths, hosts: Sequence[Caller]) -> list[int]:
    found = (find_holder(paths, host.id) for host in hosts)
    return [process_id for process_id in found if process_id is not None]


def _signal_sessions(paths: MachinePaths, hosts: Sequence[Caller], number: signal.Signals) -> None:
    for process_id in _holders(paths, hosts):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)


def _let_go(paths: MachinePaths) -> bool:
    try:
        volume.unmount(paths.volume)
    except AgentError as error:
        print(f"ebbtide: {error}; powering off with it, the snapshot will be crash-consistent", flush=True)
        return False
    return True
