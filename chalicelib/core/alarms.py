"""What is wrong, and what to do about it: the facts of the last nights in, troubles out.

A subject (a host, a receiver, retention, the drills of a host, the copies in one place) has one trouble at most, so
that it is well again only when nothing at all is wrong with it. Whether someone was told already is `telling.py`'s to
decide.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby, takewhile
from operator import attrgetter

from chalicelib.core import restored
from chalicelib.core.advice import Kind
from chalicelib.core.copy_watch import is_unlocked_for_long, is_unseen_for_long, laggards
from chalicelib.core.disk import GIB, Filling, Measured, filling, how_full, of_quota
from chalicelib.core.drilling import stands_against
from chalicelib.core.ids import own_host, own_word
from chalicelib.core.model import (
    Copying,
    HostResult,
    HostStatus,
    Pruning,
    Quota,
    Recovery,
    RecoveryKind,
    RestorePoint,
    Run,
    RunState,
    Uncopied,
)
from chalicelib.core.night_world import status_of
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.core.preflight import Preflight, nothing_was_looked_at
from chalicelib.core.preflight import subjects as subjects_of_preflight
from chalicelib.core.recovery import was_ended_early
from chalicelib.core.recovery_times import told_of
from chalicelib.core.telling import LOST
from chalicelib.core.trouble import Trouble, said
from chalicelib.core.verdicts import (
    FAILED,
    is_all_there_is_to_prove,
    is_down,
    is_on_its_way_out,
    is_stale,
    is_unheard,
    satisfies,
)

_MOST_NAMED = 20

# The lines of a message that name one snapshot or finding each: more are not read at three in the morning.
_MOST_DETAILS = 5


@dataclass(frozen=True)
class Night:
    """A closed run, and what its hosts reported."""

    run: Run
    results: tuple[HostResult, ...]


@dataclass(frozen=True)
class Facts:
    """What there is to judge by.

    `nights` are of each receiver, and of each host with a volume of its own (`own_word`), the newest first; `points`
    are oldest first; `enrolled` says since when the hosts without a point have been in the policy.
    """

    policy: Policy
    nights: Mapping[str, tuple[Night, ...]]
    points: tuple[RestorePoint, ...]
    recoveries: tuple[Recovery, ...] = ()
    pruning: Pruning | None = None
    enrolled: Mapping[str, datetime] = field(default_factory=dict)
    copying: tuple[Copying, ...] = ()
    preflight: Preflight | None = None

    @cached_property
    def newest(self) -> dict[str, RestorePoint]:
        """The newest restore point of each host, by its id."""
        return {point.host_id: point for point in self.points}

    @cached_property
    def proven(self) -> dict[str, RestorePoint]:
        """The newest proven restore point of each host, by its id."""
        return {point.host_id: point for point in self.points if point.proven}


def find_troubles(facts: Facts, now: datetime) -> tuple[Trouble, ...]:
    """Everything that is wrong, by its subject."""
    found = (
        *_failed_runs(facts),
        *_hosts(facts, now),
        *_refused_pruning(facts),
        *_gone_snapshots(facts),
        *_drilled_in_vain(facts, now),
        *_restores_gone_wrong(facts, now),
        *_restores_ending(facts, now),
        *_failing_copies(facts, now),
        *_failing_locks(facts, now),
        *_filling_disks(facts),
        *_host_quotas(facts),
        *_damaged_volumes(facts),
        *_warned_of_disks(facts),
        *_found_by_day(facts, now),
    )
    return tuple(sorted(found, key=lambda trouble: trouble.about))


def subjects(policy: Policy, places: Iterable[str] = ()) -> AbstractSet[str]:
    """Everything this policy could have trouble with, copies in these places among it: who left it is not well again,
    but gone."""
    hosts = [host.id for host in policy.hosts.values()]
    owners = [*policy.receivers, *(own_word(host.id) for host in policy.own_volume_hosts())]
    of_receivers = (*map(_receiver, owners), *map(_disk, policy.receivers), *map(_volume, policy.receivers))
    of_hosts = (word(host) for host in hosts for word in (_host, _drills, _restores, _ends, _own_disks, _quota))
    own = {"pruning", LOST, *of_receivers, *of_hosts, *map(_copies, places), *map(_locks, places)}
    return own | subjects_of_preflight(policy)


def _receiver(name: str) -> str:
    return f"receiver/{name}"


def _disk(receiver: str) -> str:
    return f"disk/{receiver}"


def _volume(receiver: str) -> str:
    return f"volume/{receiver}"


def _host(host_id: str) -> str:
    return f"host/{host_id}"


def _drills(host_id: str) -> str:
    return f"drills/{host_id}"


def _restores(host_id: str) -> str:
    return f"restores/{host_id}"


def _ends(host_id: str) -> str:
    return f"restores/{host_id}/end"


def _own_disks(host_id: str) -> str:
    return f"disks/{host_id}"


def _quota(host_id: str) -> str:
    return f"quota/{host_id}"


def _copies(place: str) -> str:
    return f"copies/{place}"


def _locks(place: str) -> str:
    return f"locks/{place}"


# -- runs -------------------------------------------------------------------------------------------------------------


def _failed_runs(facts: Facts) -> Iterator[Trouble]:
    for name, nights in facts.nights.items():
        newest = next((night.run for night in nights if not _is_the_hosts_own(night)), None)
        if newest is not None and newest.state is RunState.FAILED:
            yield Trouble(
                about=_receiver(name),
                kind=Kind.RUN_FAILED,
                name=f"receiver {name}" if own_host(newest.id) is None else f"host {newest.hosts[0].name}",
                what=f"run {newest.id} failed: {newest.why or 'it does not say why'}",
                since=newest.closed or newest.deadline,
                occurrence=str(newest.id),
            )


def _is_the_hosts_own(night: Night) -> bool:
    """Whether the run failed by what its only host says of itself: then it is a night of that host like any other."""
    return own_host(night.run.id) is not None and any(not each.status.is_complete for each in night.results)


# -- hosts ------------------------------------------------------------------------------------------------------------


def _hosts(facts: Facts, now: datetime) -> Iterator[Trouble]:
    newest = facts.newest
    for host, name in _hosts_with_their_nights(facts.policy):
        bad = _bad_nights(host.id, facts.nights.get(name, ()))
        trouble = _suspect(host, bad) or _missed(host, bad, newest) or _stale(host, facts, now)
        if trouble is not None:
            yield trouble


def _hosts_with_their_nights(policy: Policy) -> Iterator[tuple[HostPolicy, str]]:
    """Every host, and under which name its nights are found."""
    for name, receiver in policy.receivers.items():
        yield from ((policy.hosts[each], name) for each in receiver.hosts)
    yield from ((host, own_word(host.id)) for host in policy.own_volume_hosts())


@dataclass(frozen=True)
class _BadNight:
    run: Run
    status: HostStatus
    problem: str | None

    def __str__(self) -> str:
        return f"{self.run.id}: {self.status.value}" + (f", {_printable(self.problem)}" if self.problem else "")


def _bad_nights(host_id: str, nights: Iterable[Night]) -> list[_BadNight]:
    """The host's latest nights in a row without a restore point, the newest first; one attempt saves its night."""
    bad = []
    for _, attempts in groupby(nights, key=lambda night: night.run.id.day):
        tried = [night for night in attempts if _counts(host_id, night)]
        if any(status_of(host_id, night.results).is_complete for night in tried):
            break
        bad += [_bad_night(host_id, tried[0])] if tried else []
    return bad


def _counts(host_id: str, night: Night) -> bool:
    """A failed run says nothing against a host that could not reach it, nor for one that was complete in vain."""
    if host_id not in {host.id for host in night.run.hosts}:
        return False
    status = status_of(host_id, night.results)
    return night.run.state is not RunState.FAILED or not (status.is_complete or status is HostStatus.MISSING)


def _bad_night(host_id: str, night: Night) -> _BadNight:
    problems = [problem for result in night.results if result.id == host_id for problem in result.problems]
    return _BadNight(night.run, status_of(host_id, night.results), problems[0] if problems else None)


def _suspect(host: HostPolicy, bad: list[_BadNight]) -> Trouble | None:
    """Until a complete night: one that is merely missing afterwards makes nothing well."""
    found = [night for night in bad if night.status is HostStatus.SUSPECT]
    if not found:
        return None
    return _about_host(
        host, Kind.SUSPECT, f"host {host.name} is suspect since run {found[-1].run.id}", found[-1].run.opened, bad
    )


def _missed(host: HostPolicy, bad: list[_BadNight], newest: Mapping[str, RestorePoint]) -> Trouble | None:
    if len(bad) < host.alarm_after:
        return None
    nights = "the last night" if len(bad) == 1 else f"{len(bad)} nights in a row"
    what = f"host {host.name} was not complete on {nights}"
    point = newest.get(host.id)
    kept = f"newest restore point: {said(point.at)}" if point else "it has no restore point"
    return _about_host(host, Kind.MISSED, what, bad[-1].run.opened, [*bad, kept])


def _stale(host: HostPolicy, facts: Facts, now: datetime) -> Trouble | None:
    """A host that never had a point counts from its enrolment; no run of it may ever have been opened."""
    point = facts.newest.get(host.id)
    since = point.at if point else facts.enrolled.get(host.id)
    if since is None or now - since <= host.stale_after:
        return None
    if point is None:
        what = f"host {host.name} was enrolled {(now - since).days} days ago and has no restore point"
        return _about_host(host, Kind.STALE, what, since, [])
    what = f"host {host.name}: its newest restore point is {(now - point.at).days} days old"
    return _about_host(host, Kind.STALE, what, point.at, [f"it is in snapshot {point.snapshot_id}"])


def _about_host(host: HostPolicy, kind: Kind, what: str, since: datetime, details: Iterable[object]) -> Trouble:
    return Trouble(_host(host.id), kind, f"host {host.name}", what, since, kind.value, tuple(map(str, details)))


# -- retention, drills and restores -----------------------------------------------------------------------------------


def _refused_pruning(facts: Facts) -> Iterator[Trouble]:
    """Before the first restore point there is nothing to prune, and refusing to is as it should be."""
    pruning = facts.pruning
    if pruning is not None and pruning.refused is not None and facts.points:
        what = f"retention refused to prune: {pruning.refused}"
        yield Trouble("pruning", Kind.PRUNE_REFUSED, "retention", what, pruning.at, Kind.PRUNE_REFUSED.value)


def _gone_snapshots(facts: Facts) -> Iterator[Trouble]:
    pruning = facts.pruning
    if pruning is not None and pruning.missed is not None:
        yield Trouble(
            about=LOST,
            kind=Kind.SNAPSHOT_GONE,
            name="the stock of snapshots",
            what=f"somebody has deleted snapshots with restore points: {len(pruning.gone)}",
            since=pruning.missed,
            occurrence=pruning.missed.isoformat(),
            details=pruning.gone[:_MOST_NAMED],
        )


def _drilled_in_vain(facts: Facts, now: datetime) -> Iterator[Trouble]:
    """Hosts whose latest drill did not prove what it could, or is too long ago for a policy that says how often."""
    latest = _latest_drills(facts)
    oldest = {point.host_id: point.at for point in reversed(facts.points)}
    for host in facts.policy.hosts.values():
        drill = latest.get(host.id)
        if drill is None or satisfies(drill.verdict, drill.probe, drill.findings):
            yield from _old_proof(host, drill, oldest.get(host.id), facts.policy.drill.every_days, now)
        else:
            yield Trouble(
                about=_drills(host.id),
                kind=Kind.DRILL_FAILED,
                name=f"drills of host {host.name}",
                what=f"drill {drill.id} of host {host.name} ended as {_how(drill)}",
                since=drill.closed or drill.deadline,
                occurrence=str(drill.id),
                details=(*map(_printable, drill.findings[:_MOST_DETAILS]), *told_of(drill)),
            )


def _old_proof(
    host: HostPolicy, drill: Recovery | None, first: datetime | None, every_days: int | None, now: datetime
) -> Iterator[Trouble]:
    """After twice the time that the policy allows."""
    since = drill.closed or drill.deadline if drill else first
    if every_days is not None and since is not None and now - since > 2 * timedelta(days=every_days):
        last = f"the last drill that proved the backup of host {host.name} was {(now - since).days} days ago"
        none = f"no drill has proved the backup of host {host.name}, which has restore points since {said(since)}"
        yield Trouble(
            about=_drills(host.id),
            kind=Kind.PROOF_OLD,
            name=f"drills of host {host.name}",
            what=last if drill else none,
            since=since,
            occurrence=Kind.PROOF_OLD.value,
        )


def _how(drill: Recovery) -> str:
    verdict = drill.verdict or "nothing"
    return f"{verdict}, of a stale point" if is_stale(drill.findings) else verdict


def _latest_drills(facts: Facts) -> dict[str, Recovery]:
    there = {(point.host_id, point.run) for point in facts.points}
    closed = (each for each in facts.recoveries if each.kind is RecoveryKind.DRILL and each.state.is_final)
    latest: dict[str, Recovery] = {}
    for drill in sorted(closed, key=attrgetter("id"), reverse=True):
        later = latest.get(drill.id.host_id)
        if later is None or stands_against(drill, later, there):
            latest[drill.id.host_id] = drill
    return latest


def _restores_gone_wrong(facts: Facts, now: datetime) -> Iterator[Trouble]:
    """Of each host the latest one. It may be one of a host that has left the policy."""
    restores = sorted(facts.recoveries, key=lambda each: each.id)
    doubtful = {each.id.host_id: each for each in restores if _is_doubtful(each, now)}
    for restore in {**doubtful, **_failed_restores(restores)}.values():
        kind, how = _how_wrong(restore)
        yield Trouble(
            about=_restores(restore.id.host_id),
            kind=kind,
            name=f"restores of host {restore.host}",
            what=f"restore {restore.id} of host {restore.host} {how}",
            since=restore.opened,
            occurrence=f"{restore.id} {restore.verdict}",
            details=(*map(_printable, restore.findings[:_MOST_DETAILS]), *told_of(restore)),
        )


def _restores_ending(facts: Facts, now: datetime) -> Iterator[Trouble]:
    """Of each host the one that ends first: somebody may have moved in, and what is there goes with it."""
    first = {each.id.host_id: each for each in reversed(restored.ending_soon(facts.recoveries, now))}
    for restore in first.values():
        yield Trouble(
            about=_ends(restore.id.host_id),
            kind=Kind.RESTORE_ENDS,
            name=f"the end of restores of host {restore.host}",
            what=f"restore {restore.id} of host {restore.host} is taken down at {said(restore.deadline)}",
            since=restore.deadline - restored.ENDS_SOON,
            occurrence=f"{restore.id} {restore.deadline.isoformat()}",
            details=(f"it runs as {restore.name}" + (f", at {restore.address}" if restore.address else ""),),
        )


def _how_wrong(restore: Recovery) -> tuple[Kind, str]:
    """Not whether it runs: that is for `ebbtide restore` to see."""
    if restore.verdict == FAILED:
        return Kind.RESTORE_FAILED, "has failed"
    if restore.verdict is not None:
        unseen = "" if restore.address else ", and nobody has seen it run"
        return Kind.RESTORE_DOUBTFUL, f"is {restore.verdict}{unseen}"
    return Kind.RESTORE_DOUBTFUL, _how_doubtful(restore.findings)


def _how_doubtful(findings: Iterable[str]) -> str:
    if is_down(findings):
        return "has not come up, and is not compared yet"
    if is_unheard(findings):
        return "may be back, and what its machine said of it cannot be read"
    return "has come to no verdict in a day"


def _failed_restores(in_order: Iterable[Recovery]) -> dict[str, Recovery]:
    """Of each host the latest one, unless it has come back since. Whoever has ended one has no need to be told."""
    failed: dict[str, Recovery] = {}
    for each in in_order:
        if each.kind is RecoveryKind.RESTORE and each.verdict == FAILED and not was_ended_early(each):
            failed[each.id.host_id] = each
        elif _came_back(each):
            failed.pop(each.id.host_id, None)
    return failed


def _came_back(recovery: Recovery) -> bool:
    if recovery.kind is RecoveryKind.DRILL:
        return recovery.verdict not in (None, FAILED)
    return recovery.kind is RecoveryKind.RESTORE and recovery.address is not None


def _is_doubtful(restore: Recovery, now: datetime) -> bool:
    """Whether somebody who did not wait for it would take it for better than it is."""
    if restore.kind is not RecoveryKind.RESTORE or is_on_its_way_out(restore, now):
        return False
    if restore.verdict is None:
        is_told = is_unheard(restore.findings) or is_down(restore.findings)
        return is_told or now >= restore.opened + restored.COMPARED_WITHIN
    return restore.address is None or not is_all_there_is_to_prove(restore.verdict, restore.probe)


# -- copies -----------------------------------------------------------------------------------------------------------


def _failing_copies(facts: Facts, now: datetime) -> Iterator[Trouble]:
    """One for each place, not for each receiver: what stands in the way is nearly always the place's own."""
    for copying in facts.copying:
        late, is_unseen = laggards(copying, now), is_unseen_for_long(copying, now)
        if late or is_unseen:
            yield Trouble(
                about=_copies(copying.place),
                kind=Kind.COPY_FAILED,
                name=f"copying to {copying.place}",
                what=_what_is_late(copying, late),
                since=min((each.since for each in late), default=copying.seen),
                occurrence=Kind.COPY_FAILED.value,
                details=(*_unseen(copying), *_named(late)),
            )


def _what_is_late(copying: Copying, late: Sequence[Uncopied]) -> str:
    if not late:
        return f"nobody could look at the copies in {copying.place} since {said(copying.seen)}"
    count = "1 snapshot lacks its copy" if len(late) == 1 else f"{len(late)} snapshots lack their copies"
    return f"{count} in {copying.place}"


def _unseen(copying: Copying) -> Iterator[str]:
    if copying.blind:
        yield f"last seen {said(copying.seen)}, since then: {_printable(copying.blind)}"


def _named(late: Sequence[Uncopied]) -> Iterator[str]:
    for each in late[:_MOST_DETAILS]:
        failed = f", failed {each.failures} times: {_printable(each.why)}" if each.why else ""
        yield f"snapshot {each.snapshot_id} of run {each.run}: wanted since {said(each.since)}{failed}"
    if len(late) > _MOST_DETAILS:
        yield f"and {len(late) - _MOST_DETAILS} more"


def _failing_locks(facts: Facts, now: datetime) -> Iterator[Trouble]:
    for copying in facts.copying:
        if copying.unlocked_since and is_unlocked_for_long(copying, now):
            yield Trouble(
                about=_locks(copying.place),
                kind=Kind.LOCK_FAILED,
                name=f"locking the copies in {copying.place}",
                what=f"copies in {copying.place} are not locked that should be",
                since=copying.unlocked_since,
                occurrence=Kind.LOCK_FAILED.value,
                details=tuple(map(_printable, copying.unlocked[:_MOST_DETAILS])),
            )


# -- disks ------------------------------------------------------------------------------------------------------------


def _filling_disks(facts: Facts) -> Iterator[Trouble]:
    for name, receiver in facts.policy.receivers.items():
        measured = measured_disks(facts, name)
        found = filling(measured)
        if found is not None and found.is_too_full:
            yield Trouble(
                about=_disk(name),
                kind=Kind.DISK_FILLING,
                name=f"the volume of receiver {name}",
                what=f"the volume of receiver {name} {how_full(found)}",
                since=max(night.at for night in measured),
                occurrence="almost full" if found.is_almost_full else "filling",
                details=(*_figures(found), f"volume.size in the policy: {receiver.volume.size_gib} GiB"),
            )


def _damaged_volumes(facts: Facts) -> Iterator[Trouble]:
    """By its last night: the next one is a night with a sound volume, or says so again."""
    for name in facts.policy.receivers:
        newest = next((night.run for night in facts.nights.get(name, ())), None)
        if newest is not None and newest.aside:
            yield Trouble(
                about=_volume(name),
                kind=Kind.VOLUME_DAMAGED,
                name=f"the volume of receiver {name}",
                what=f"the volume of receiver {name} was damaged: set aside is {', '.join(newest.aside)}",
                since=newest.opened,
                occurrence=str(newest.id),
                details=tuple(f"could not be tagged: {each}" for each in newest.untagged[:_MOST_DETAILS]),
            )


def measured_disks(facts: Facts, receiver: str) -> list[Measured]:
    """What the nights of a receiver left of its volume."""
    nights = facts.nights.get(receiver, ())
    return [Measured(night.run.closed, night.run.disk) for night in nights if night.run.closed and night.run.disk]


def measured_quotas(facts: Facts, host: HostPolicy) -> list[Measured]:
    """What the nights of a host left of its quota."""
    return [found for at, quota in _quotas(facts, host) if (found := of_quota(at, quota))]


def _quotas(facts: Facts, host: HostPolicy) -> Iterator[tuple[datetime, Quota]]:
    """The newest first."""
    receiver = facts.policy.receiver_of(host.name)
    for night in facts.nights.get(receiver.name, ()) if receiver else ():
        for result in night.results:
            if result.id == host.id and result.quota and night.run.closed:
                yield night.run.closed, result.quota


def _host_quotas(facts: Facts) -> Iterator[Trouble]:
    """Of a host whose policy gives it one: that it fills up, or that nothing keeps the host to it."""
    for host in facts.policy.hosts.values():
        at, newest = next(_quotas(facts, host), (None, None))
        if host.quota_gib is None or at is None or newest is None:
            continue
        measured = measured_quotas(facts, host)
        found = filling(measured)
        if newest.why:
            yield _about_quota(host, at, "not kept", f"holds nothing: {_printable(newest.why)}", ())
        elif found is not None and found.is_too_full:
            how = "almost full" if found.is_almost_full else "filling"
            yield _about_quota(host, at, how, how_full(found), tuple(_figures(found)))


def _about_quota(host: HostPolicy, at: datetime, occurrence: str, how: str, details: tuple[str, ...]) -> Trouble:
    return Trouble(
        about=_quota(host.id),
        kind=Kind.HOST_QUOTA,
        name=f"the quota of host {host.name}",
        what=f"the quota of host {host.name} {how}",
        since=at,
        occurrence=occurrence,
        details=(*details, f"quota in the policy: {host.quota_gib} GiB"),
    )


def _warned_of_disks(facts: Facts) -> Iterator[Trouble]:
    """By the last report of each host, however its night went; a night that was missed says nothing new."""
    for host, name in _hosts_with_their_nights(facts.policy):
        reported = [
            (night.run, result)
            for night in facts.nights.get(name, ())
            for result in night.results
            if result.id == host.id
        ]
        warned = list(takewhile(lambda each: each[1].warnings, reported))
        if warned:
            yield Trouble(
                about=_own_disks(host.id),
                kind=Kind.DISK_WARNING,
                name=f"the disks of host {host.name}",
                what=f"host {host.name} warns of its disks: {_printable(warned[0][1].warnings[0])}",
                since=warned[-1][0].opened,
                occurrence=Kind.DISK_WARNING.value,
                details=tuple(map(_printable, warned[0][1].warnings[:_MOST_DETAILS])),
            )


def _figures(found: Filling) -> Iterator[str]:
    disk = found.disk
    yield f"{disk.used / GIB:.1f} of {disk.size / GIB:.1f} GiB used, {disk.free / GIB:.1f} GiB free"
    if disk.inodes:
        yield f"{disk.inodes_used:,} of {disk.inodes:,} inodes used"
    if found.bytes_a_day is not None:
        yield f"growth: {found.bytes_a_day / GIB:+.2f} GiB a day, by the median of its last nights"


# -- what was found out by day ----------------------------------------------------------------------------------------


def _found_by_day(facts: Facts, now: datetime) -> Iterator[Trouble]:
    """What the latest preflight found, of what the policy still has; and that there was none."""
    known = subjects_of_preflight(facts.policy)
    if facts.preflight is not None:
        yield from (trouble for trouble in facts.preflight.troubles if trouble.about in known)
    first = min((night.run.opened for nights in facts.nights.values() for night in nights), default=None)
    silence = nothing_was_looked_at(facts.preflight, first, now)
    if silence is not None:
        yield silence


def _printable(text: str) -> str:
    """What a machine said, without what could move a reader's cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)
