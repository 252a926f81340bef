"""Letting go: nobody may begin, what runs is ended, the volume is synced, measured and unmounted; that is recorded."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

from ebbtide_agent import moments, procs, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError, TransientError
from ebbtide_agent.instance import Instance
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.brief import Brief
from ebbtide_agent.receiver.durable import find_why_lost
from ebbtide_agent.receiver.lease import end_sessions
from ebbtide_agent.receiver.ledger import Ledger, event_source
from ebbtide_agent.receiver.lost import note_written
from ebbtide_agent.receiver.mail import Mail, Mailing
from ebbtide_agent.receiver.postman import send_now
from ebbtide_agent.receiver.quotas import find_quotas
from ebbtide_agent.receiver.station import put_word

# The answer to the last report is on its way when we let go: a host that misses it asks in vain until the deadline.
HEARING_SECONDS = 2.0


def release(instance: Instance, brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock, sshd: procs.Child) -> bool:
    """Release the volume and record it. True when it was let go cleanly; the snapshot is crash-consistent otherwise.

    So is one of a disk that is only now found not to have kept all: whose night is complete had it on the disk before.
    """
    paths.closing.touch()
    procs.end(sshd)
    time.sleep(HEARING_SECONDS)
    end_sessions(paths, [host.id for host in brief.hosts], brief.grace.total_seconds() / 2)
    procs.end_group(sshd)
    if now() >= brief.deadline:
        _record_cut_off(brief, paths, cloud, now)
    # Read-only, or with an error that somebody has heard of: of what was pushed then nothing counts.
    had_lost_some = find_why_lost(paths) is not None
    usage = volume.measure(paths.volume) if had_lost_some else _measured(paths)
    loses_some_now = not had_lost_some and not _note_written(brief, paths)
    clean = _let_go(brief, paths) and not loses_some_now
    disk = asdict(usage) if usage else None
    put_word("released", instance, cloud, now(), clean=clean, read_only=had_lost_some, disk=disk)
    detail = {"run": instance.id, "attempt": instance.attempt}
    mail = Mail(paths.outbox)
    mail.leave(event_source(brief), "Ebbtide Receiver Released", detail)
    send_now(mail, cloud)
    return clean


def _record_cut_off(brief: Brief, paths: MachinePaths, cloud: Cloud, now: Clock) -> None:
    """Before the deadline another receiver may take what is still to come. Without the record they are `missing`.

    An archive that does not answer was asked for minutes: for each host once more, and nobody would let go in time.
    """
    ledger = Ledger(paths, brief, Mailing(cloud, Mail(paths.outbox)))
    for host in brief.hosts:
        try:
            ledger.record_cut_off(host, now())
        except (AgentError, OSError) as error:
            print(f"ebbtide: that {host.id} was not done could not be recorded: {error}", flush=True)
            if isinstance(error, TransientError):
                return


def _measured(paths: MachinePaths) -> volume.Usage | None:
    """How full the volume is for the hosts: what is in reserve is not free for them."""
    usage = volume.measure(paths.volume)
    try:
        left = find_quotas(paths).left(paths.volume)
    except AgentError as error:
        print(f"ebbtide: {error}; what is free may be more than hosts can have", flush=True)
        return usage
    return usage if usage is None or left is None else replace(usage, free=min(usage.free, left))


def _note_written(brief: Brief, paths: MachinePaths) -> bool:
    """Whether the disk has kept all. Without the note of that the next night compares what it need not."""
    try:
        note_written(paths, [host.id for host in brief.hosts], moments.up().start)
    except (AgentError, OSError) as error:
        print(f"ebbtide: that all is on the disk could not be noted: {error}", flush=True)
    return find_why_lost(paths) is None


def _let_go(brief: Brief, paths: MachinePaths) -> bool:
    try:
        volume.let_go(paths.device(brief.volume_id), paths.volume)
    except AgentError as error:
        print(f"ebbtide: {error}; powering off with it, the snapshot will be crash-consistent", flush=True)
        return False
    return True
