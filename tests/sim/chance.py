"""Scenarios drawn by lot: the same seed, or the same choices of Hypothesis, is always the same one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import TypeVar

from chalicelib.core.model import HostStatus
from tests.sim.faults import (
    CallFault,
    Deed,
    Does,
    Fate,
    FaultPlan,
    HostNight,
    MachineLife,
    NoRoom,
    OwnNight,
    Pace,
    Says,
)
from tests.sim.night import Scenario
from tests.sim.policies import Receiving, SomePolicy

Drawn = TypeVar("Drawn")

CALLS = (
    "machines.*",
    "machines.find",
    "machines.launch",
    "machines.terminate",
    "volumes.*",
    "volumes.create_volume",
    "volumes.create_snapshot",
    "volumes.find_snapshots",
    "volumes.attach",
    "volumes.delete_snapshot",
    "volumes.tag",
    "address.*",
    "copies.*",
    "copies.copy",
    "copies.find",
    "catalog.*_copy_intent",
    "archive.put_once",
    "archive.list",
    "archive.get",
    "catalog.*",
    "catalog.save_run",
    "catalog.open_run",
    "catalog.record_point",
    "catalog.save_lease",
    "catalog.*_told",
    "alarms.publish",
    "watch.ping",
    "lambdas.invoke_later",
    "*",
)
WINDOWS = ("02:00-06:00", "22:30-03:15", "23:50-00:40", "01:30-02:30", "12:00-13:00")
ZONES = ("UTC", "Europe/London", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe")
DAYS = (date(2026, 11, 23), date(2026, 3, 28), date(2026, 10, 24), date(2028, 2, 28), date(2026, 12, 30))
WHERE = ("zone-a", "zone-b", "t4g.small", "t4g.medium")
COPIED = ("", "", "last = 1", "daily = 2", "daily = 1\nweekly = 4")
MINUTES = (3, 11, 45, 300, 1000, 1600, 2000, 3000, 4000)
STRANGER = "sa1"  # no receiver of a drawn policy has it
RULES = ("daily = 7", "last = 1", "last = 2", "daily = 1\nweekly = 1", "yearly = 1")


def a_scenario(lot: Random) -> Scenario:
    policy = a_policy(lot)
    plan = replace(a_plan(lot), deeds=some_deeds(lot, policy))
    return Scenario(policy, plan, lot.choice(DAYS), nights=lot.randint(1, 4))


def a_policy(lot: Random) -> SomePolicy:
    names = ("main", "other")[: lot.randint(1, 2)]
    hosts = iter(("us0", "eu0", "ap0", "af0", "sa0", "an0"))
    receivers = tuple(a_receiver(name, hosts, lot) for name in names)
    own_hosts = ("we0", "we1")[: lot.choice((0, 0, 1, 2))]
    return SomePolicy(receivers, lot.choice(RULES), lot.choice(COPIED), own_hosts)


def a_receiver(name: str, hosts: Iterator[str], lot: Random) -> Receiving:
    its_hosts = tuple(next(hosts) for _ in range(lot.randint(1, 3)))
    mode = lot.choice(("persistent", "persistent", "ephemeral"))
    return Receiving(name, lot.choice(WINDOWS), lot.choice(ZONES), its_hosts, mode)


def a_plan(lot: Random) -> FaultPlan:
    return FaultPlan(
        calls=several(a_call_fault, lot, 3),
        events=several(a_fate, lot, 4) or (Fate(),),
        invocations=some_invocations(lot),
        hosts=several(a_host_night, lot, 6),
        own_hosts=several(an_own_night, lot, 6),
        machines=several(a_life, lot, 4),
        no_room=several(some_want_of_room, lot, 3),
        bad_snapshots=several(lambda lot: lot.random() < 0.3, lot, 2),
        there=a_plan_of_there(lot),
        pace=a_pace(lot),
        ticks_at_once=lot.choice((1, 1, 1, 2)),
        silences=several(a_silence, lot, 1),
    )


def a_plan_of_there(lot: Random) -> FaultPlan:
    """The second region's: its snapshots are copies."""
    return FaultPlan(
        calls=several(a_call_fault, lot, 2),
        events=several(a_fate, lot, 3) or (Fate(),),
        invocations=some_invocations(lot),
        machines=several(a_life, lot, 2),
        bad_snapshots=several(lambda lot: lot.random() < 0.3, lot, 3),
        pace=a_pace(lot),
        silences=several(a_silence, lot, 1),
    )


def several(draw: Callable[[Random], Drawn], lot: Random, most: int) -> tuple[Drawn, ...]:
    return tuple(draw(lot) for _ in range(lot.randint(0, most)))


def minutes(lot: Random, *choices: float) -> timedelta:
    return timedelta(minutes=lot.choice(choices))


def a_call_fault(lot: Random) -> CallFault:
    says = lot.choice((Says.NO_ANSWER, Says.THROTTLED, Says.DIES, Says.DENIED, Says.RIVAL))
    call = lot.choice(CALLS)
    has_effect = says in (Says.NO_ANSWER, Says.DIES) and lot.random() < 0.5
    return CallFault(call, says, lot.randint(0, 60), lot.choice((1, 1, 2, 5)), has_effect)


def a_fate(lot: Random) -> Fate:
    return Fate(lot.choice((0, 1, 1, 2, 5)), minutes(lot, 0, 0, 1, 7, 60, 24 * 60))


def a_slower_fate(lot: Random) -> Fate:
    return Fate(lot.choice((0, 1, 1, 2)), minutes(lot, 0, 0, 0.5, 4, 11))


def some_invocations(lot: Random) -> tuple[Fate, ...]:
    """Seven, which is no multiple of what one tick invokes: no run is the one whose every invocation is lost."""
    slow = several(a_slower_fate, lot, 3)
    return (*slow, *[Fate()] * (7 - len(slow)))


def a_host_night(lot: Random) -> HostNight:
    statuses = (HostStatus.COMPLETE, HostStatus.COMPLETE, HostStatus.PARTIAL, HostStatus.FAILED, None)
    return HostNight(
        at=minutes(lot, 0, 1, 10, 30, 170),
        takes=minutes(lot, 0, 1, 5, 20, 90),
        says=lot.choice(statuses),
        reports=lot.randint(1, 3),
        is_impersonated=lot.random() < 0.1,
    )


def an_own_night(lot: Random) -> OwnNight:
    statuses = (HostStatus.COMPLETE, HostStatus.COMPLETE, HostStatus.PARTIAL, HostStatus.SUSPECT, None)
    return OwnNight(
        at=minutes(lot, 0, 1, 70, 300, 1200, 1439),
        takes=minutes(lot, 0, 1, 5, 90),
        says=lot.choice(statuses),
        quiet=minutes(lot, 60, 60, 360, 720, 1380),
        events=lot.choice((0, 1, 1, 3)),
        lets_go=lot.random() < 0.8,
        knows_its_volume=lot.random() < 0.9,
    )


def a_life(lot: Random) -> MachineLife:
    return MachineLife(
        boots_in=minutes(lot, 1, 2, 9, 20),
        gets_ready=lot.random() < 0.8,
        dies_after=lot.choice((None, None, minutes(lot, 0, 1, 12, 30, 120))),
        hangs=lot.random() < 0.2,
        releases=lot.random() < 0.8,
        lets_go=lot.random() < 0.9,
        sees_disks_in=minutes(lot, 0, 0, 0, 1, 60),
        stopped_after=lot.choice((None, None, None, minutes(lot, 1, 7, 20, 200))),
    )


def some_want_of_room(lot: Random) -> NoRoom:
    since = minutes(lot, 0, 0, 12, 24 * 60)
    return NoRoom(lot.choice(WHERE), since, since + minutes(lot, 5, 30, 240, 3 * 24 * 60))


def a_pace(lot: Random) -> Pace:
    return Pace(
        to_show=minutes(lot, 0, 0, 0.5, 3, 4.5),
        to_detach=minutes(lot, 0, 0, 2, 40),
        to_snapshot=minutes(lot, 1, 3, 45, 8 * 60),
        to_replicate=minutes(lot, 0, 1, 1, 15, 5 * 60),
    )


def some_deeds(lot: Random, policy: SomePolicy) -> tuple[Deed, ...]:
    """By themselves, and those that mean something one after the other only, about one host."""
    in_order = several(lambda lot: a_sequence(lot, policy), lot, 2)
    return (*several(lambda lot: a_deed(lot, policy), lot, 2), *(deed for sequence in in_order for deed in sequence))


def a_deed(lot: Random, policy: SomePolicy) -> Deed:
    receiver = lot.choice(policy.receivers)
    does = lot.choice(tuple(Does))
    of = {Does.RUN_NOW: receiver.name, Does.APPLY: lot.choice(RULES), Does.COPY: lot.choice(COPIED)}
    someone = lot.choice((*receiver.hosts, *policy.own_hosts, STRANGER))
    return Deed(minutes(lot, *MINUTES), does, of.get(does, someone))


def a_sequence(lot: Random, policy: SomePolicy) -> tuple[Deed, ...]:
    host = lot.choice(lot.choice(policy.receivers).hosts)
    begins, then = minutes(lot, *MINUTES), minutes(lot, 1, 20, 600, 1500)
    match lot.choice(("forgets", "forgets", "comes back", "holds", "copies", "opens")):
        case "forgets":
            return (Deed(begins, Does.REMOVE, host), Deed(begins + then, Does.FORGET, host))
        case "comes back":
            returns = Deed(begins + 2 * then, Does.ADD, host)
            return (Deed(begins, Does.REMOVE, host), Deed(begins + then, Does.FORGET, host), returns)
        case "opens":
            closes = Deed(begins + 2 * then, Does.CLOSE, host)
            return (Deed(begins + then, Does.OPEN, host), closes)
        case "holds":
            kept_short = Deed(begins + then, Does.APPLY, "last = 1")
            return (Deed(begins, Does.HOLD, host), kept_short, Deed(begins + 3 * then, Does.RELEASE, host))
        case _:
            return (Deed(begins, Does.COPY, ""), Deed(begins + then, Does.COPY, lot.choice(COPIED)))


def a_silence(lot: Random) -> tuple[timedelta, timedelta]:
    since = minutes(lot, 0, 5, 60, 200)
    return since, since + minutes(lot, 5, 30, 120, 600)
