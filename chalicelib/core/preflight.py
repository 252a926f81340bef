"""What the next night needs, and what it all costs, judged by day: what was seen in, what is wrong with it out.

The preflight (`flows/preflight.py`) looks once a day. What it found stays in the catalogue until the next one, and is
told like any other trouble; what it could not look at is a finding, too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.core.advice import Kind
from chalicelib.core.bill import ABOUT as BUDGET
from chalicelib.core.bill import ABOUT_DRILLS as DRILL_BUDGET
from chalicelib.core.bill import Budget, over_budget
from chalicelib.core.locking import not_yet_for_good
from chalicelib.core.model import SnapshotLock
from chalicelib.core.policy import Policy
from chalicelib.core.sweep import Removal
from chalicelib.core.telling import LOCKS
from chalicelib.core.trouble import Trouble, said

# One a day is expected; one that is late by another day has not come.
SILENT_AFTER = timedelta(days=2)
# Of a quota: to have more takes AWS days, so this is told while there still are some.
MOST_USED = 0.8

RESTORES = "restores"
_LONGEST_WHY = 500
_MOST_NAMED = 20
ENABLED = "Enabled"

# The families that the quota of standard on-demand instances counts (A, C, D, H, I, M, R, T, Z); others have their own.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html
_STANDARD = re.compile(r"(a|c|d|h|i|im|is|m|r|t|z)[0-9]")


@dataclass(frozen=True)
class Preflight:
    """How the latest look went."""

    at: datetime
    troubles: tuple[Trouble, ...] = ()


class QuotaName(StrEnum):
    """A quota of the account in one region that a night can meet.

    Not that of copies under way: we fill it ourselves and wait, it cannot be raised, and what comes late is told.
    """

    VCPUS = "vCPUs of standard on-demand machines"
    SNAPSHOTS = "snapshots"
    GP3 = "GiB of gp3 volumes"


@dataclass(frozen=True)
class Quota:
    """How much there may be, how much there is now, and how much more the next night needs."""

    name: QuotaName
    region: str
    limit: float
    used: float
    needed: float = 0


@dataclass(frozen=True)
class Key:
    """A KMS key. `state` is KMS's own word; `refused` says why a dry use of it failed, `holds` what it encrypts.

    `is_ours`: it is the account's own, and so to delete by who rules there; keys of AWS's own are not.
    """

    id: str
    region: str
    state: str
    deletion: datetime | None = None
    refused: str | None = None
    holds: tuple[str, ...] = ()
    is_ours: bool = False


@dataclass(frozen=True)
class Refusal:
    """EC2 would not launch this machine for this part (a receiver's name, or `RESTORES`)."""

    part: str
    machine: str
    why: str


@dataclass(frozen=True)
class Seen:
    """What a preflight saw. A receiver without its key is `keyless`, `unguarded` are the hosts whose guard the policy
    has switched off, `locks` those on copies of ours; `left` is what no sweep has removed. `unseen` is what it could
    not look at, and why; the subjects that this may have to do with are `hidden`."""

    refusals: tuple[Refusal, ...] = ()
    keys: tuple[Key, ...] = ()
    quotas: tuple[Quota, ...] = ()
    keyless: tuple[str, ...] = ()
    unguarded: tuple[str, ...] = ()
    locks: tuple[SnapshotLock, ...] = ()
    left: tuple[Removal, ...] = ()
    agent_missing: str | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
    hidden: AbstractSet[str] = frozenset()
    budgets: tuple[Budget, ...] = ()


def is_standard(instance_type: str) -> bool:
    """Whether the quota of standard on-demand machines counts it."""
    return _STANDARD.match(instance_type) is not None


def judge(seen: Seen, before: Preflight | None, now: datetime) -> Preflight:
    """What is wrong now; what the preflight before has found already is wrong since then.

    Where nobody could look it goes on: it is not well again by that.
    """
    known = {trouble.about: trouble for trouble in before.troubles} if before else {}
    found = (
        *_refused_launches(seen.refusals, now),
        *_unusable_keys(seen.keys, now),
        *_tight_quotas(seen.quotas, now),
        *_missing_parts(seen, now),
        *_switched_off_guards(seen.unguarded, now),
        *_locks_to_come(not_yet_for_good(seen.locks), seen.keys, now),
        *_left_standing(seen.left, now),
        *_unseen(seen.unseen, now),
        *over_budget(seen.budgets, now),
    )
    still = {about: trouble for about, trouble in known.items() if about in seen.hidden}
    wrong = {**still, **{trouble.about: trouble for trouble in found}}
    return Preflight(now, tuple(replace(each, since=known.get(about, each).since) for about, each in wrong.items()))


def subjects(policy: Policy) -> AbstractSet[str]:
    """Everything a preflight could find under this policy."""
    parts = {about_launches(name) for name in (*policy.receivers, RESTORES)}
    return {
        _SELF,
        KEYS,
        AGENT,
        _GUARDS,
        LEFT,
        LOCKS,
        _UNSEEN,
        BUDGET,
        DRILL_BUDGET,
        *parts,
        *map(about_host_key, policy.receivers),
        *map(about_quota, QuotaName),
    }


def nothing_was_looked_at(latest: Preflight | None, first_run: datetime | None, now: datetime) -> Trouble | None:
    """That no preflight came for two days; where none is known, since the first run that is."""
    since = latest.at if latest else first_run
    if since is None or now - since < SILENT_AFTER:
        return None
    what = f"the last preflight was {said(since)}" if latest else "no preflight is known"
    return Trouble(_SELF, Kind.PREFLIGHT_SILENT, "the preflight", what, since, Kind.PREFLIGHT_SILENT.value)


_SELF = "preflight"
KEYS, AGENT, LEFT, _UNSEEN = "preflight/keys", "preflight/agent", "preflight/left", "preflight/unseen"
_GUARDS = "preflight/guards"


def about_launches(part: str) -> str:
    return f"preflight/launch/{part}"


def about_host_key(receiver: str) -> str:
    return f"preflight/host key/{receiver}"


def about_quota(name: QuotaName) -> str:
    return f"preflight/quota/{name.name.lower()}"


# -- machines ---------------------------------------------------------------------------------------------------------


def _refused_launches(refusals: Sequence[Refusal], now: datetime) -> Iterator[Trouble]:
    """One for each part, with every machine of it that was refused."""
    for part in dict.fromkeys(refusal.part for refusal in refusals):
        mine = [refusal for refusal in refusals if refusal.part == part]
        name = "restores" if part == RESTORES else f"receiver {part}"
        yield Trouble(
            about=about_launches(part),
            kind=Kind.LAUNCH_REFUSED,
            name=f"the launch of {name}",
            what=f"EC2 would not launch {mine[0].machine} for {name}: {_in_a_line(mine[0].why)}",
            since=now,
            occurrence=", ".join(refusal.machine for refusal in mine),
            details=tuple(f"{refusal.machine}: {_in_a_line(refusal.why)}" for refusal in mine[1:]),
        )


# -- keys -------------------------------------------------------------------------------------------------------------


def _unusable_keys(keys: Iterable[Key], now: datetime) -> Iterator[Trouble]:
    bad = [key for key in keys if key.state != ENABLED or key.refused]
    if bad:
        yield Trouble(
            about=KEYS,
            kind=Kind.KEY_UNUSABLE,
            name="the encryption keys",
            what=f"key {bad[0].id} in {bad[0].region} {_how_bad(bad[0])}",
            since=now,
            occurrence=", ".join(f"{key.id} {key.state}" for key in bad),
            details=tuple(
                line for key in bad for line in (f"{key.id} {_how_bad(key)}", f"it encrypts {', '.join(key.holds)}")
            ),
        )


def _how_bad(key: Key) -> str:
    if key.deletion is not None:
        return f"is {key.state}: it is deleted at {said(key.deletion)}"
    return f"is {key.state}" if key.state != ENABLED else f"cannot be used: {key.refused}"


# -- quotas -----------------------------------------------------------------------------------------------------------


def _tight_quotas(quotas: Sequence[Quota], now: datetime) -> Iterator[Trouble]:
    for name in QuotaName:
        tight = [quota for quota in quotas if quota.name is name and (_is_too_small(quota) or _is_nearly_used(quota))]
        if tight:
            yield Trouble(
                about=about_quota(name),
                kind=Kind.QUOTA,
                name=f"the quota of {name}",
                what=_how_tight(tight[0]),
                since=now,
                occurrence=", ".join(f"{quota.region} {_is_too_small(quota)}" for quota in tight),
                details=tuple(map(_how_tight, tight[1:])),
            )


def _is_too_small(quota: Quota) -> bool:
    return quota.used + quota.needed > quota.limit


def _is_nearly_used(quota: Quota) -> bool:
    return quota.used >= MOST_USED * quota.limit


def _how_tight(quota: Quota) -> str:
    counted = f"{quota.used:,.0f} of {quota.limit:,.0f} {quota.name} in {quota.region} are used"
    if _is_too_small(quota):
        return f"{counted}, and the next night needs {quota.needed:,.0f}"
    return counted


# -- parts, and what was not seen -------------------------------------------------------------------------------------


def _missing_parts(seen: Seen, now: datetime) -> Iterator[Trouble]:
    if seen.agent_missing:
        what = f"the archive holds no {seen.agent_missing}: no machine of ours can start its agent"
        yield Trouble(AGENT, Kind.MISSING_PART, "the agent's file", what, now, seen.agent_missing)
    for receiver in seen.keyless:
        name = f"the host key of receiver {receiver}"
        what = f"{name} is not in the parameter store: no host would find it"
        yield Trouble(about_host_key(receiver), Kind.MISSING_PART, name, what, now, receiver)


def _switched_off_guards(unguarded: Sequence[str], now: datetime) -> Iterator[Trouble]:
    if unguarded:
        hosts = ", ".join(unguarded)
        yield Trouble(
            about=_GUARDS,
            kind=Kind.GUARD_OFF,
            name="the receivers' guard",
            what=f'the policy says guard = "off" for {hosts}: what is gone or rewritten there is not noticed',
            since=now,
            occurrence=hosts,
        )


def _locks_to_come(locks: Sequence[SnapshotLock], keys: Iterable[Key], now: datetime) -> Iterator[Trouble]:
    if locks:
        void_with = (
            f"key {key.id} encrypts copies, and who rules here can delete it: then no lock helps"
            for key in keys
            if key.is_ours
        )
        yield Trouble(
            about=LOCKS,
            kind=Kind.LOCKS_BEGIN,
            name="the locks of copies",
            what=f"EBS locks copies for {locks[0].days} days, and soon nobody can take that back",
            since=now,
            occurrence=f"{locks[0].days} days",
            details=(*map(_how_locked, locks), *void_with),
        )


def _how_locked(lock: SnapshotLock) -> str:
    ends = f" until {said(lock.until)}" if lock.until else ""
    return f"{lock.snapshot_id}{ends}" + (f", can be taken back until {said(lock.cool_off)}" if lock.cool_off else "")


def _left_standing(left: Sequence[Removal], now: datetime) -> Iterator[Trouble]:
    named = left[:_MOST_NAMED]
    if named:
        yield Trouble(
            about=LEFT,
            kind=Kind.LEFT_STANDING,
            name="the sweep",
            what=f"{named[0].id} stands, and costs: {named[0].why}",
            since=now,
            occurrence=", ".join(each.id for each in named),
            details=tuple(f"{each.id}: {each.why}" for each in named[1:]),
        )


def _unseen(unseen: Mapping[str, str], now: datetime) -> Iterator[Trouble]:
    if unseen:
        yield Trouble(
            about=_UNSEEN,
            kind=Kind.PREFLIGHT_BLIND,
            name="what the preflight sees",
            what=f"the preflight could not look at {', '.join(unseen)}",
            since=now,
            occurrence=", ".join(unseen),
            details=tuple(f"{what}: {_in_a_line(why)}" for what, why in unseen.items()),
        )


def _in_a_line(why: str) -> str:
    """What AWS said, which may be a page."""
    return " ".join(why.split())[:_LONGEST_WHY]
