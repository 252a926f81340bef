"""What is told when nothing is wrong, so that silence means something: a weekly letter, and a ping a good night.

Also how old what could be restored is, receiver by receiver: the same numbers as a letter and as metrics.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from chalicelib.core.alarms import Facts, measured_disks, measured_quotas
from chalicelib.core.cost import sent_by
from chalicelib.core.disk import filling, how_full
from chalicelib.core.ids import OWN_VOLUMES
from chalicelib.core.model import RecoveryKind, RestorePoint, Run, RunState
from chalicelib.core.policy import Policy
from chalicelib.core.recovery_times import rpo, rto, spoken
from chalicelib.core.telling import GOOD_NIGHT, WEEKLY, Message, Told, is_due
from chalicelib.core.trouble import Trouble, said
from chalicelib.core.verdicts import OPENED, is_on_its_way_out

# Nobody reads more lines of a list than this.
_MOST_LINES = 200

# Monday morning, when Europe's nights are over and someone reads mail.
_HOUR = time(8, tzinfo=UTC)


@dataclass(frozen=True)
class Ages:
    """How old the newest points of a receiver's hosts are, at worst; None while no host has any.

    A host that was never proven counts from its oldest point: that long nothing has been proven. `without` counts the
    hosts that have no point at all.
    """

    receiver: str
    newest: timedelta | None
    proven: timedelta | None
    without: int


def ages(facts: Facts, now: datetime) -> tuple[Ages, ...]:
    """Of every receiver of the policy, and of all hosts with volumes of their own together."""
    newest, proven, oldest = facts.newest, facts.proven, _oldest(facts.points)
    found = []
    for receiver, ids in _groups(facts.policy):
        protected = [host_id for host_id in ids if host_id in newest]
        found.append(
            Ages(
                receiver=receiver,
                newest=max((now - newest[host_id].at for host_id in protected), default=None),
                proven=max((now - proven.get(host_id, oldest[host_id]).at for host_id in protected), default=None),
                without=len(ids) - len(protected),
            )
        )
    return tuple(found)


def _groups(policy: Policy) -> Iterator[tuple[str, list[str]]]:
    for receiver in policy.receivers.values():
        yield receiver.name, [policy.hosts[name].id for name in receiver.hosts]
    own = [host.id for host in policy.own_volume_hosts()]
    if own:
        yield OWN_VOLUMES, own


def _oldest(points: Iterable[RestorePoint]) -> dict[str, RestorePoint]:
    found: dict[str, RestorePoint] = {}
    for point in points:
        found.setdefault(point.host_id, point)
    return found


# -- weekly -----------------------------------------------------------------------------------------------------------


def weekly(facts: Facts, troubles: tuple[Trouble, ...], known: Mapping[str, Told], now: datetime) -> Message | None:
    """The letter of this week, if it is still owed; before the first run has closed there is nothing to tell."""
    if not any(facts.nights.values()):
        return None
    told = known.get(WEEKLY)
    unprotected = [name for name, host in facts.policy.hosts.items() if host.id not in facts.newest]
    wrong = [trouble.what for trouble in troubles] + [f"host {name} has no restore point yet" for name in unprotected]
    subject = f"weekly: not all is well: {len(wrong)} to look at" if wrong else "weekly: all is well"
    parts = [
        *_listed("what is wrong", wrong),
        *_listed("the last runs", _runs(facts)),
        *_listed("how full it is", _fullness(facts)),
        *_listed("restored servers", _restores(facts, now)),
        *_listed("open to their hosts", _openings(facts)),
        *_listed("hosts", _hosts(facts)),
    ]
    message = Message(
        about=WEEKLY,
        occurrence=_latest_monday(now).date().isoformat(),
        group=WEEKLY,
        name="the weekly letter",
        subject=subject,
        body="\n".join([subject, *parts, "if this letter fails to come one Monday, nobody watches: look"]),
        is_well=True,
        since=_latest_monday(now),
        version=told.version if told else 0,
    )
    return message if is_due(message, told, now) else None


def _latest_monday(now: datetime) -> datetime:
    """The latest Monday morning that has begun."""
    morning = datetime.combine(now.astimezone(UTC).date(), _HOUR)
    monday = morning - timedelta(days=morning.weekday())
    return monday if monday <= now else monday - timedelta(weeks=1)


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    left_out = len(lines) - _MOST_LINES
    more = [f"  ... and {left_out} more"] if left_out > 0 else []
    return ["", f"{title}:", *(f"  {line}" for line in lines[:_MOST_LINES]), *more] if lines else []


def _runs(facts: Facts) -> Iterator[str]:
    for nights in facts.nights.values():
        for night in nights[:1]:
            run, results = night.run, night.results
            complete = sum(result.status.is_complete for result in results)
            sent = sent_by(results, run)
            yield f"{run.id}: {run.state.value}, {complete} of {len(run.hosts)} hosts complete, {sent:,} bytes sent"


def _fullness(facts: Facts) -> Iterator[str]:
    for name in facts.policy.receivers:
        if found := filling(measured_disks(facts, name)):
            yield f"the volume of receiver {name} {how_full(found)}"
    for host in facts.policy.hosts.values():
        if found := filling(measured_quotas(facts, host)):
            yield f"the quota of host {host.name} {how_full(found)}"


def _openings(facts: Facts) -> Iterator[str]:
    for each in facts.recoveries:
        if each.verdict == OPENED and not each.state.is_final:
            yield f"{each.host} as it was {said(each.point.at)}, at {each.address} until {said(each.deadline)}"


def _restores(facts: Facts, now: datetime) -> Iterator[str]:
    for each in facts.recoveries:
        if each.kind is RecoveryKind.RESTORE and not is_on_its_way_out(each, now):
            known = each.verdict or "no verdict yet"
            where = f"at {each.address}" if each.address else "not seen to run"
            of = f"{each.host} as it was {said(each.point.at)}"
            yield f"{each.name}: {of}, {known}, {where}, until {said(each.deadline)}"


def _hosts(facts: Facts) -> list[str]:
    """The oldest first: what does not fit into the letter is what is best."""
    newest, proven = facts.newest, facts.proven
    protected = [host for host in facts.policy.hosts.values() if host.id in newest]
    lines = []
    for host in sorted(protected, key=lambda host: newest[host.id].at):
        point = proven.get(host.id)
        proof = f"proven {said(point.proven)}" if point and point.proven else "never proven"
        lines.append(f"{host.name}: newest point {said(newest[host.id].at)}, {proof}{_measured(host.id, facts)}")
    return lines


def _measured(host_id: str, facts: Facts) -> str:
    """By its latest drill that answered: a restore may be of any point, however old."""
    measured = [
        (each.opened, after, rpo(each))
        for each in facts.recoveries
        if each.id.host_id == host_id and each.kind is RecoveryKind.DRILL and (after := rto(each)) is not None
    ]
    if not measured:
        return ""
    when, after, lost = max(measured)
    return f", RTO {spoken(after.total_seconds())}, RPO {spoken(lost.total_seconds())} (measured {said(when)})"


# -- after a good night -----------------------------------------------------------------------------------------------


def good_night(facts: Facts, troubles: tuple[Trouble, ...], known: Mapping[str, Told], now: datetime) -> Message | None:
    """The ping that is owed for the latest run, if it is done and nothing is wrong anywhere.

    One address hears of all receivers: a good night of one must not drown the silence of another.
    """
    latest = _latest(facts)
    if troubles or latest is None or latest.state is not RunState.DONE:
        return None
    told = known.get(GOOD_NIGHT)
    message = Message(
        about=GOOD_NIGHT,
        occurrence=str(latest.id),
        group=GOOD_NIGHT,
        name="the ping",
        subject=f"run {latest.id} is done and nothing is wrong",
        body="",
        is_well=True,
        since=latest.closed or latest.deadline,
        version=told.version if told else 0,
    )
    return message if is_due(message, told, now) else None


def _latest(facts: Facts) -> Run | None:
    newest = (nights[0].run for nights in facts.nights.values() if nights)
    return max(newest, key=lambda run: (run.closed or run.deadline, run.id), default=None)
