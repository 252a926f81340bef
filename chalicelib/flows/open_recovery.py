"""Open a recovery: choose the point it starts from, write it down, and wake whoever goes on with it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from chalicelib import wire
from chalicelib.core import entrances, restored, tags
from chalicelib.core.backups import is_damaged
from chalicelib.core.ids import HOST_ID
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind, RestorePoint, Snapshot, Step, Way
from chalicelib.core.naming import (
    Mode,
    RecoveryRequest,
    check_is_free,
    check_name,
    find_called,
    first_part,
    is_own_name,
    own_name,
    restored_name,
)
from chalicelib.core.opening import OpeningRequest
from chalicelib.core.policy import Policy
from chalicelib.core.recovery import choose_point, lasts
from chalicelib.core.restored import kept_until
from chalicelib.core.steps import LAUNCH
from chalicelib.core.verdicts import DIFFERENT, FAILED, is_on_its_way_out, why_stale
from chalicelib.errors import PermanentError, Refused, TransientError
from chalicelib.flows.leases import leased
from chalicelib.flows.observe import as_ec2_says
from chalicelib.flows.policies import find_policy
from chalicelib.flows.serving import check_servable
from chalicelib.flows.stock import find_snapshot, find_stock, point_before
from chalicelib.ports import World

_BEFORE_A_STANDBYS_FIRST = 1000
# A host has a few recoveries a day. What has a higher number was written ahead by whoever had a machine's role: it is
# passed over where that number comes, and does not use up those before it.
_MOST_A_DAY = 9999
# Longer than the function lives that opens one: whoever has died at that keeps a name from others for no longer.
_OPENS_WITHIN = timedelta(minutes=2)


def open_drill(host: str, world: World, now: datetime) -> RecoveryId:
    """Prove the newest point of a host, given by its name or id. Raises Refused when there is nothing to prove."""
    return open_recovery(RecoveryRequest(host, mode=Mode.DRILL), world, now).id


def open_recovery(request: RecoveryRequest, world: World, now: datetime) -> Recovery:
    """A restore or a drill, as the request has it, of whatever point it names. Raises Refused as these do."""
    if request.mode is Mode.RESTORE:
        return open_restore(request, world, now)
    if request.name is not None or request.ports or request.networks or request.lasts:
        raise Refused("a drill has no name of yours, lets nobody in and ends by itself: say host and at alone")
    return _open_or_wake(_wanted(RecoveryKind.DRILL, request, world, now), world)[0]


def open_restore(request: RecoveryRequest, world: World, now: datetime) -> Recovery:
    """Bring a host back as it was then, or at its newest. Asked again with other ways in, or a longer time, what is
    under way has those, and with none it keeps what it has: when nothing was said of the point, whatever night it is
    of.

    Raises Refused when there is no such point, for a name in production, or of another one that stands, which was not
    said to be meant, when it is not known who may come in, and when all that stand would have more ways in than their
    group takes.
    """
    policy = find_policy(world)
    check_name(request, policy)
    wanted = _wanted(RecoveryKind.RESTORE, request, world, now)
    known = world.catalog.find_recoveries(wanted.id.host_id)
    of_any_point = request.at is None and request.point is None
    under_way = _find_under_way(known, wanted, request.name, of_any_point)
    others = [each for each in _standing_restores(world, now) if under_way is None or each.id != under_way.id]
    check_is_free(request, others)
    name = request.name or own_name(wanted.id.host_id, {each.name for each in others})
    ways = _wanted_ways(request, wanted.host, under_way, policy)
    deadline = kept_until(under_way, request.lasts, now) if under_way else now + (request.lasts or restored.USUAL)
    wanted = replace(wanted, name=name, ways=ways, deadline=deadline)
    with nullcontext() if under_way else _given_to_nobody_else(name, others, world, now):
        recovery = _opened(wanted, under_way, known, world)
    _wake(recovery, world)
    return recovery


@contextmanager
def _given_to_nobody_else(name: str, others: Iterable[Recovery], world: World, now: datetime) -> Iterator[None]:
    """While it is given to one, nor since the others were looked at; by whatever comes after the first part of it.

    Raises TransientError where it is or was: whoever asks again is told what stands, or has another name.
    """
    with leased(f"a restore called {first_part(name)}", None, world, now, _OPENS_WITHIN):
        looked_at = {each.id for each in others}
        called = find_called(name, (each for each in _standing_restores(world, now) if each.id not in looked_at))
        if called is not None:
            raise TransientError(f"recovery {called.id} was given the name {name} just now: ask again")
        yield


def _standing_restores(world: World, now: datetime) -> list[Recovery]:
    restores = (each for each in world.catalog.find_recoveries() if each.kind is RecoveryKind.RESTORE)
    return [each for each in restores if not is_on_its_way_out(each, now)]


def _wanted_ways(
    request: RecoveryRequest, host: str, under_way: Recovery | None, policy: Policy | None
) -> tuple[Way, ...]:
    """Those that it has, if none were said; who may come in has to be known only where that is not so."""
    if under_way is not None and not (request.ports or request.networks):
        return under_way.ways
    return entrances.ways_to(request.ports, request.networks or _usual_networks(host, policy))


def _usual_networks(host: str, policy: Policy | None) -> tuple[str, ...]:
    """Those that this host's receiver is open to; of a host that has none, those that any is. Others nobody named."""
    receivers = policy.receivers if policy else {}
    own = [each for each in receivers.values() if host in each.hosts]
    networks = {as_ec2_says(network) for each in own or receivers.values() for network in each.allow}
    if not networks:
        raise Refused(f'nobody has said who may come in to host {host}: say it, as "allow": ["198.51.100.0/24"]')
    return tuple(networks)


def open_to_host(request: OpeningRequest, world: World, now: datetime) -> tuple[Recovery, bool]:
    """Let a host, given by its name or id, get files back for a while; and whether this has begun it. What is open
    already stands as long as it does.

    Raises Refused when there is no such point, or when its host could not log in to it.
    """
    wanted = _wanted(RecoveryKind.OPENING, RecoveryRequest(request.host, request.at), world, now)
    check_servable(wanted, world)
    return _open_or_wake(replace(wanted, deadline=now + request.lasts), world)


@dataclass(frozen=True)
class _Host:
    name: str
    id: str
    probe: str | None
    start_list: tuple[str, ...] = ()
    stale_after: timedelta | None = None


def _wanted(kind: RecoveryKind, request: RecoveryRequest, world: World, now: datetime) -> Recovery:
    """As it would be, but for its attempt. Raises as opening it does."""
    host = _find_host(request.host, world)
    chosen, snapshot = _source_of(host, request, world)
    point = replace(chosen, proven=None)
    return Recovery(
        id=RecoveryId(host.id, now.date(), 0),
        kind=kind,
        host=host.name,
        name=request.name or restored_name(host.id),
        point=point,
        probe=host.probe,
        policy_version=world.catalog.policy_version(),
        opened=now,
        deadline=now + lasts(kind, snapshot.size_gib),
        start=host.start_list,
        lives=restored.LONGEST if kind is RecoveryKind.RESTORE else None,
        step=Step(LAUNCH, now),
        nonce="" if kind is RecoveryKind.OPENING else world.new_nonce(),
        findings=_known_against(kind, request, host, point, world, now),
    )


def _known_against(
    kind: RecoveryKind, request: RecoveryRequest, host: _Host, point: RestorePoint, world: World, now: datetime
) -> tuple[str, ...]:
    """What is known against its point before it is begun: whoever asks is told, and says what is done."""
    if kind is RecoveryKind.RESTORE:
        return _what_its_drill_said(host, point, world)
    return _why_stale(kind, request, host, point, now)


def _what_its_drill_said(host: _Host, point: RestorePoint, world: World) -> tuple[str, ...]:
    """That the newest drill of this point has not found it as it was backed up, and what to restore instead."""
    known = world.catalog.find_recoveries(host.id)
    drills = [each for each in known if each.kind is RecoveryKind.DRILL and each.point.run == point.run]
    newest = max((each for each in drills if each.verdict), key=lambda each: each.opened, default=None)
    if newest is None or newest.verdict not in (DIFFERENT, FAILED):
        return ()
    why = f": {newest.findings[0]}" if newest.findings else ""
    before = point_before(point, world)
    instead = f"; the point before it: `ebbtide restore {host.name} --at {before.snapshot_id}`" if before else ""
    return (f"drill {newest.id} of this restore point was {newest.verdict}{why}{instead}",)


def _why_stale(
    kind: RecoveryKind, request: RecoveryRequest, host: _Host, point: RestorePoint, now: datetime
) -> tuple[str, ...]:
    """Of a drill of whatever is newest. That a host which has left the policy has no newer point is as it should be."""
    is_of_the_newest = kind is RecoveryKind.DRILL and request.at is None and request.point is None
    return why_stale(point, host.stale_after, now) if is_of_the_newest and host.stale_after else ()


def _open_or_wake(wanted: Recovery, world: World) -> tuple[Recovery, bool]:
    """And whether it is a new one."""
    known = world.catalog.find_recoveries(wanted.id.host_id)
    under_way = _find_under_way(known, wanted, None)
    wanted = replace(wanted, deadline=under_way.deadline) if under_way else wanted
    recovery = _opened(wanted, under_way, known, world)
    _wake(recovery, world)
    return recovery, under_way is None


def _opened(wanted: Recovery, under_way: Recovery | None, known: Iterable[Recovery], world: World) -> Recovery:
    """Asked twice for the same, it is opened once: the one under way is woken instead."""
    _check_room(wanted, under_way, world)
    return _as_wanted(wanted, under_way, world) if under_way else _begin(wanted, known, world)


def _wake(recovery: Recovery, world: World) -> None:
    world.lambdas.invoke_later("recover", wire.recovery_payload(recovery.id))


def _begin(wanted: Recovery, known: Iterable[Recovery], world: World) -> Recovery:
    """The archive first, where `rebuild` finds it however long it waits for room. What was cut short between archive
    and table is the same when it is asked for again."""
    archived = world.archive.list(wire.recoveries_prefix(wanted.id.host_id, wanted.id.day))
    cut_short = _find_cut_short(wanted, known, archived, world)
    recovery = cut_short or replace(wanted, id=_next_id(wanted.id, known, archived, world))
    is_ours = cut_short or world.archive.put_once(wire.recovery_asked_key(recovery.id), wire.recovery_asked(recovery))
    if not (is_ours and world.catalog.open_recovery(recovery)):
        raise TransientError(f"recovery {recovery.id} was opened by someone else just now: ask again")
    return _as_wanted(replace(wanted, deadline=recovery.deadline), recovery, world)


def _find_cut_short(
    wanted: Recovery, known: Iterable[Recovery], archived: Sequence[str], world: World
) -> Recovery | None:
    """The same, of which today's archive says that it was asked for and nothing more, and the table nothing."""
    said = Counter(wire.recoveries_among(archived))
    asked = [each for each in said if said[each] == 1 and wire.recovery_asked_key(each) in archived]
    unknown = {*asked} - {recovery.id for recovery in known}
    bodies = (world.archive.get(wire.recovery_asked_key(each)) for each in sorted(unknown))
    found = _find_under_way(map(wire.parse_recovery_asked, bodies), wanted, wanted.name)
    return replace(found, findings=wanted.findings) if found else None


def _check_room(wanted: Recovery, instead_of: Recovery | None, world: World) -> None:
    if not wanted.ways:
        return
    others = (each for each in world.catalog.find_recoveries() if instead_of is None or each.id != instead_of.id)
    ways = {*entrances.wanted(others, wanted.opened), *wanted.ways}
    if len(ways) > entrances.MOST_WAYS:
        raise Refused(
            f"with host {wanted.host} there would be {len(ways)} ways in to what stands restored, and their security "
            f"group takes at most {entrances.MOST_WAYS}: say fewer or wider networks (allow), fewer ports, or close one"
        )


def _as_wanted(wanted: Recovery, recovery: Recovery, world: World) -> Recovery:
    """With the ways in and the end of what is wanted. The archive first, where `rebuild` finds the last word: the
    brief is written but once."""
    if (recovery.ways, recovery.deadline) == (wanted.ways, wanted.deadline):
        return recovery
    before = wire.ways_among(world.archive.list(wire.recovery_prefix(recovery.id)))
    key = wire.recovery_ways_key(recovery.id, len(before) + 1)
    is_first = world.archive.put_once(key, wire.recovery_ways_record(wanted.ways, wanted.deadline))
    saved = (
        world.catalog.save_recovery(replace(recovery, ways=wanted.ways, deadline=wanted.deadline)) if is_first else None
    )
    if saved is None:
        raise TransientError(f"recovery {recovery.id} has changed just now: ask again")
    return saved


def _find_host(name: str, world: World) -> _Host:
    """By the name the policy has, else by the id: a host that left the policy is restored by that.

    Raises PermanentError when it is neither.
    """
    policy = find_policy(world)
    hosts = policy.hosts if policy else {}
    of_id = next((host for host in hosts.values() if host.id == name), None)
    host = hosts.get(name) or of_id
    if host is not None:
        return _Host(host.name, host.id, host.probe, host.start_list, host.stale_after)
    if HOST_ID.fullmatch(name) is None:
        raise PermanentError(f"{name!r} is no host of the policy, and no host id either: four of a-z and 0-9, as us0a")
    return _Host(name, name, None)


def _source_of(host: _Host, request: RecoveryRequest, world: World) -> tuple[RestorePoint, Snapshot]:
    """The point to bring up, and its snapshot. One whose snapshot is damaged, or was deleted by somebody, is none:
    pruning forgets it."""
    at = request.at
    points = [each for each in world.catalog.find_points(host.id) if _may_be(each, request.point)]
    if request.point is not None and not points:
        _refuse_damaged(host, request, world)
        raise Refused(
            f"host {host.name} has no restore point {request.point}: expected a snapshot or a run that has one"
        )
    gone = []
    while (point := choose_point(points, at)) is not None:
        snapshot = find_snapshot(point.snapshot_id, world)
        if snapshot is not None and not is_damaged(snapshot):
            return point, snapshot
        points.remove(point)
        gone += [point.snapshot_id] if snapshot is None else []
    _refuse_damaged(host, request, world)
    if gone:
        raise Refused(
            f"host {host.name}: EC2 shows none of the snapshots that hold its restore points here: {', '.join(gone)}. "
            "Ask again in some minutes, then look for copies of them in another region or account"
        )
    if not points:
        raise Refused(f"host {host.name} has no restore point: give a known name or id, or `rebuild` a lost catalogue")
    raise Refused(f"host {host.name} has no restore point that old: its first is of {points[0].at.isoformat()}")


def _may_be(point: RestorePoint, wanted: str | None) -> bool:
    return wanted in (None, point.snapshot_id, str(point.run))


def _refuse_damaged(host: _Host, request: RecoveryRequest, world: World) -> None:
    """Where nothing sound is left, what there is is named. Whether it is worth a try a person says, by its tags."""
    held = (each for each in find_stock(world) if is_damaged(each) and host.id in tags.unpack(each.tags))
    damaged = [each.id for each in held if _might_hold(each, request)]
    if damaged:
        raise Refused(
            f"host {host.name} has no sound restore point {request.point or 'that old'}: what holds it was found "
            f"damaged: {', '.join(damaged)}. Look for a copy in another region or account; to try one all the same, "
            f"take the tag `{tags.DAMAGED}` off it and `ebbtide rebuild`, or attach a volume made from it, read only"
        )


def _might_hold(snapshot: Snapshot, request: RecoveryRequest) -> bool:
    if request.point is not None:
        return request.point in (snapshot.id, snapshot.tags.get(tags.RUN))
    return request.at is None or snapshot.started <= request.at


def _find_under_way(
    known: Iterable[Recovery], wanted: Recovery, name: str | None, of_any_point: bool = False
) -> Recovery | None:
    """That of its point, before the latest of any; of this name, or else of one that nobody has given it."""
    alike = [each for each in known if _is_under_way(each, wanted, name)]
    of_its_point = [each for each in alike if each.point.snapshot_id == wanted.point.snapshot_id]
    meant = of_its_point or (alike if of_any_point else [])
    return max(meant, key=lambda each: each.opened, default=None)


def _is_under_way(recovery: Recovery, wanted: Recovery, name: str | None) -> bool:
    is_so_called = recovery.name == name if name else is_own_name(recovery.name, recovery.id.host_id)
    return recovery.kind is wanted.kind and is_so_called and not is_on_its_way_out(recovery, wanted.opened)


def _next_id(wanted: RecoveryId, known: Iterable[Recovery], archived: Iterable[str], world: World) -> RecoveryId:
    """The day's next attempt: never one that the archive has seen, even if the table has lost it.

    A standby counts from far above: its archive may yet be brought the other region's recoveries of today.
    """
    used = {*(recovery.id for recovery in known), *wire.recoveries_among(archived)}
    taken = {each.attempt for each in used if each.day == wanted.day}
    before = _BEFORE_A_STANDBYS_FIRST if world.settings.is_standby else 0
    first = 1 + max([before, *(each for each in taken if each <= _MOST_A_DAY)])
    return replace(wanted, attempt=next(each for each in count(first) if each not in taken))
