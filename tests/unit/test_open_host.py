"""An opening: a host gets files back from a restore point for a while; what comes up, who may come in, how it ends."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.actions import AttachVolume, Wait
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind, RecoveryState, TreeKind
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.opening import LONGEST, OPENS_WITHIN, SETTLES, USUAL, OpeningRequest
from chalicelib.core.recovery import plan
from chalicelib.core.recovery_actions import (
    Action,
    AdmitNetworks,
    CloseRecovery,
    CreateVolume,
    DeleteVolume,
    MarkProven,
    RecordOpened,
    RecordVerdict,
    RecoveryWorld,
    TerminateMachine,
)
from chalicelib.errors import PermanentError, Refused, TransientError
from chalicelib.flows.close_recoveries import close_recoveries, find_closable
from chalicelib.flows.open_recovery import open_drill, open_restore, open_to_host
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from tests.builders import (
    A_KEY,
    A_POLICY_TEXT,
    A_READERS_KEY,
    a_machine,
    a_moment,
    a_point,
    a_recovery,
    a_run_id,
    a_snapshot,
    a_volume,
)
from tests.fakes import FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world
from tests.recoveries import (
    MOST_CALLS,
    a_report,
    a_world_with_backups,
    by_ticks_alone,
    is_taken_down,
    its,
    put_into_force,
    retried_once,
    the_machine_reports,
)

NOW = a_moment(9)
OPENING = RecoveryId("us0a", NOW.date(), 1)
UNTIL = NOW + USUAL
US0 = OpeningRequest("us0")


def the_machine_opens(world: FakeWorld, opening: RecoveryId = OPENING) -> None:
    said = {"schema": 1, "recovery": str(opening), "opened": "2026-11-23T09:03:00Z"}
    world.archive.put_once(wire.recovery_opened_key(opening), json.dumps(said).encode())


def the_machine_does_not_open(world: FakeWorld, **changes: Any) -> None:
    world.archive.put_once(wire.recovery_unopened_key(OPENING), a_report(OPENING, **changes))


def an_opening_that_stands(world: FakeWorld, request: OpeningRequest = US0) -> Recovery:
    opening, _ = open_to_host(request, world, NOW)
    recover(opening.id, world, NOW)
    the_machine_opens(world, opening.id)
    return recover(opening.id, world, NOW).recovery


def test_it_lets_the_policys_readers_in_beside_its_host() -> None:
    world = a_world_with_backups()
    put_into_force(world, A_POLICY_TEXT + f'\n[restore]\nreaders = ["{A_READERS_KEY}"]\n')

    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)

    brief = json.loads(world.archive.get(its(wire.recovery_brief_key, world, OPENING)))
    assert brief["serve"]["keys"] == [A_KEY, A_READERS_KEY]


# -- coming up --------------------------------------------------------------------------------------------------------


def test_an_opening_brings_up_the_newest_point_where_its_host_can_reach_it() -> None:
    world = a_world_with_backups(21, 22)

    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)

    (volume,) = world.volumes.volumes.values()
    (request,) = world.machines.requests
    assert request.profile is None
    assert world.volumes.made_from[volume.id] == "snap-22"
    assert (request.security_group, request.subnet) == ("sg-receiver", "subnet-a")
    assert world.address.networks == ("198.51.100.0/24",)
    assert "SERVES='yes'" in request.user_data
    for tagged in (volume.tags, request.tags):
        assert (tagged[tags.ROLE], tagged[tags.RECOVERY]) == ("recovery", str(OPENING))
        assert tagged[tags.EXPIRES] == (UNTIL + timedelta(minutes=15)).isoformat()


def test_a_restores_own_subnet_is_not_where_an_opening_stands() -> None:
    """It may well be one that nothing comes into."""
    world = a_world_with_backups()
    put_into_force(
        world, A_POLICY_TEXT + '\n[restore]\nsubnet = "subnet-0123456789abcdef0"\ninstance = { arm64 = "m7g.large" }\n'
    )

    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)

    assert [(asked.subnet, asked.instance_type) for asked in world.machines.requests] == [("subnet-a", "m7g.large")]


def test_its_machine_is_told_whom_to_serve_and_until_when() -> None:
    world = a_world_with_backups()

    open_to_host(replace(US0, lasts=timedelta(minutes=45)), world, NOW)
    recover(OPENING, world, NOW)

    brief = json.loads(world.archive.get(its(wire.recovery_brief_key, world, OPENING)))
    assert brief["serve"] == {
        "keys": [A_KEY],
        "uid": 2435978,
        "until": "2026-11-23T09:45:00Z",
        "host_key_parameter": "/ebbtide/main/host-key",
        "filesystem": "ext4",
    }


def test_who_serves_is_the_receiver_that_the_host_knows_now_whoever_made_the_point() -> None:
    world = a_world_with_backups()
    moved = A_POLICY_TEXT.replace('["us0", "eu0"]', '["eu0"]')
    another = A_POLICY_TEXT[A_POLICY_TEXT.index("[receiver.main]") : A_POLICY_TEXT.index("[host.us0]")]
    another = another.replace("receiver.main", "receiver.other").replace('["us0", "eu0"]', '["us0"]')
    another = another.replace("backup.", "other.").replace("198.51.100.0/24", "192.0.2.0/24")
    put_into_force(world, moved + another)

    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)

    serve = json.loads(world.archive.get(its(wire.recovery_brief_key, world, OPENING)))["serve"]
    assert serve["host_key_parameter"] == "/ebbtide/other/host-key"
    assert world.address.networks == ("192.0.2.0/24",)


def test_the_name_of_the_receiver_and_whoever_reaches_it_stay_as_they_are() -> None:
    world = a_world_with_backups()
    world.address.point("backup.example.org", "10.0.0.99")
    world.address.allow(("203.0.113.0/24",))

    an_opening_that_stands(world)

    assert world.address.names == {"backup.example.org": "10.0.0.99"}
    assert world.address.networks == ("198.51.100.0/24", "203.0.113.0/24")


# -- standing ---------------------------------------------------------------------------------------------------------


def test_it_stands_until_its_time_is_over_and_says_where() -> None:
    world = a_world_with_backups()

    opening = an_opening_that_stands(world)
    standing = recover(OPENING, world, UNTIL - timedelta(seconds=1))
    over = recover(OPENING, world, UNTIL)

    assert (opening.kind, opening.verdict, opening.address) == (RecoveryKind.OPENING, "opened", "10.0.0.1")
    assert standing.waiting == (f"us0 is open at 10.0.0.1 until {UNTIL.isoformat()}",)
    assert standing.recovery.state is RecoveryState.OPEN
    assert (over.recovery.state, over.recovery.verdict) == (RecoveryState.DONE, "opened")
    assert is_taken_down(world)


def test_it_proves_nothing_whatever_its_machine_says() -> None:
    world = a_world_with_backups()
    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)
    the_machine_does_not_open(world)

    outcome = recover(OPENING, world, NOW)

    assert (outcome.recovery.state, outcome.recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert world.catalog.find_points("us0a")[0].proven is None
    assert is_taken_down(world)


def test_what_is_where_a_drill_would_report_is_not_read_of_it() -> None:
    world = a_world_with_backups()
    opening = an_opening_that_stands(world)
    the_machine_reports(world, OPENING)

    assert recover(OPENING, world, NOW).recovery == opening


@pytest.mark.parametrize("is_open", [False, True], ids=["before it was open", "while it was open"])
def test_a_machine_that_cannot_serve_says_why_and_is_taken_down(is_open: bool) -> None:
    world = a_world_with_backups()
    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)
    if is_open:
        the_machine_opens(world)
        recover(OPENING, world, NOW)
    the_machine_does_not_open(world, verdict="failed", findings=["no tree of us0a is on the volume"])

    outcome = recover(OPENING, world, NOW)

    assert outcome.recovery.findings == ("no tree of us0a is on the volume",)
    assert is_taken_down(world)


def test_a_machine_that_never_opens_is_not_waited_for_until_the_end() -> None:
    world = a_world_with_backups()
    open_to_host(replace(US0, lasts=LONGEST), world, NOW)
    recover(OPENING, world, NOW)

    early = recover(OPENING, world, NOW + OPENS_WITHIN - timedelta(seconds=1))
    late = recover(OPENING, world, NOW + OPENS_WITHIN)

    assert early.recovery.state is RecoveryState.OPEN
    assert late.recovery.findings == ("it was not open within 30 minutes",)
    assert is_taken_down(world)


def test_a_machine_that_is_lost_while_it_stands_takes_the_opening_with_it() -> None:
    world = a_world_with_backups()
    an_opening_that_stands(world)
    world.machines.terminate("i-1")

    outcome = recover(OPENING, world, NOW)

    assert outcome.recovery.findings == ("machine i-1 ended before its time",)
    assert is_taken_down(world)


def test_networks_of_a_policy_that_came_since_are_let_in_and_a_host_that_left_shuts_out_nobody() -> None:
    world = a_world_with_backups()
    an_opening_that_stands(world)

    put_into_force(world, A_POLICY_TEXT.replace("198.51.100.0/24", "192.0.2.0/24"))
    recover(OPENING, world, NOW)
    with_a_new_network = world.address.networks
    world.archive.put_once("policies/000003.toml", A_POLICY_TEXT.replace("us0", "us1").encode())
    world.catalog.set_policy_version("000003", "000002")
    recover(OPENING, world, NOW)

    assert world.address.networks == with_a_new_network == ("192.0.2.0/24", "198.51.100.0/24")


# -- asking -----------------------------------------------------------------------------------------------------------


def test_asked_for_twice_it_is_opened_once_and_stands_as_long_as_was_said_first() -> None:
    world = a_world_with_backups()
    first = an_opening_that_stands(world)

    again, is_new = open_to_host(replace(US0, lasts=LONGEST), world, NOW + timedelta(minutes=5))

    assert (again, is_new) == (first, False)
    assert len(world.machines.requests) == 1


def test_whoever_asks_for_what_is_still_coming_up_has_not_begun_it() -> None:
    world = a_world_with_backups()

    asked = [open_to_host(US0, world, NOW + timedelta(minutes=later)) for later in range(2)]

    assert [is_new for _, is_new in asked] == [True, False]


def test_another_point_is_another_opening_and_neither_is_a_drill() -> None:
    world = a_world_with_backups(20, 22)

    (newest, _), (older, _) = (open_to_host(replace(US0, at=at), world, NOW) for at in (None, a_moment(12, day=21)))
    drill = open_drill("us0", world, NOW)

    assert [each.point.snapshot_id for each in (newest, older)] == ["snap-22", "snap-20"]
    assert len({newest.id, older.id, drill}) == 3


def test_one_whose_time_is_over_is_not_the_one_that_is_asked_for() -> None:
    world = a_world_with_backups()
    first, _ = open_to_host(US0, world, NOW)

    second, _ = open_to_host(US0, world, UNTIL)

    assert (first.id.attempt, second.id.attempt) == (1, 2)


def test_a_host_that_left_the_policy_is_refused_and_told_what_it_can_have() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("old0", "snap-22", a_run_id(22)))

    with pytest.raises(Refused, match=r"host old0 is not in the policy.*function `restore`"):
        open_to_host(OpeningRequest("old0"), world, NOW)

    assert world.catalog.recoveries == {}


def test_a_host_with_a_volume_of_its_own_is_refused() -> None:
    world = a_world_with_backups()
    instance = 'target = "volume"\ninstance_id = "i-0123456789abcdef0"'
    own = A_POLICY_TEXT.replace('["us0", "eu0"]', '["eu0"]').replace("[host.us0]", f"[host.us0]\n{instance}")
    own += '\n[restore]\ninstance = { arm64 = "t4g.medium" }\n'
    put_into_force(world, "\n".join(line for line in own.splitlines() if line != f'keys  = ["{A_KEY}"]'))

    with pytest.raises(Refused, match=r"host us0 pushes to no receiver.*function `restore`"):
        open_to_host(US0, world, NOW)


def test_a_point_from_when_a_host_had_a_volume_of_its_own_is_refused() -> None:
    world = a_world_with_backups()
    world.volumes.snapshots["snap-23"] = a_snapshot("snap-23")
    world.catalog.record_point(replace(a_point(snapshot_id="snap-23"), tree=TreeKind.REAL))

    with pytest.raises(Refused, match="made on a volume of its own"):
        open_to_host(US0, world, NOW)


def test_without_the_key_that_hosts_know_their_receiver_by_it_is_refused_and_named() -> None:
    """As at a standby to which nobody has brought it."""
    world = a_world_with_backups()
    world.account.missing_parameters.add("/ebbtide/main/host-key")

    with pytest.raises(Refused, match="/ebbtide/main/host-key, the host key of its receiver, is not here"):
        open_to_host(US0, world, NOW)


# -- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["us0", "us0a", str(OPENING)])
def test_an_opening_is_closed_before_its_time_by_its_host_or_its_id(of: str) -> None:
    world = a_world_with_backups()
    an_opening_that_stands(world)
    world.lambdas.invoked.clear()

    closed = close_recoveries(of, world, NOW + timedelta(minutes=5))
    outcome = recover(OPENING, world, NOW + timedelta(minutes=5))

    assert closed == (OPENING,)
    assert ("recover", {"schema": 1, "recovery": str(OPENING)}) in world.lambdas.invoked
    assert (outcome.recovery.state, outcome.recovery.verdict) == (RecoveryState.DONE, "opened")
    assert is_taken_down(world)


def test_one_that_is_not_open_yet_is_closed_as_well() -> None:
    world = a_world_with_backups()
    open_to_host(US0, world, NOW)
    recover(OPENING, world, NOW)

    close_recoveries("us0", world, NOW)
    outcome = recover(OPENING, world, NOW)

    assert (outcome.recovery.state, outcome.recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert is_taken_down(world)


def test_what_ec2_does_not_show_yet_when_it_is_closed_is_taken_down_all_the_same() -> None:
    world = a_world_with_backups()
    open_to_host(US0, world, NOW)
    world.volumes.unshown = True
    recover(OPENING, world, NOW)
    close_recoveries("us0", world, NOW)
    early = recover(OPENING, world, NOW)
    world.volumes.unshown = False

    late = recover(OPENING, world, NOW + SETTLES)

    assert early.waiting == ("EC2 to show what it may have been asked for just before",)
    assert late.recovery.state is RecoveryState.FAILED
    assert is_taken_down(world)


def test_closing_all_of_a_host_leaves_those_of_others_and_its_drill() -> None:
    world = a_world_with_backups(20, 22)
    world.catalog.record_point(a_point("eu0a", "snap-22", a_run_id(22)))
    mine = {open_to_host(replace(US0, at=at), world, NOW)[0].id for at in (None, a_moment(12, day=21))}
    other, drill = open_to_host(OpeningRequest("eu0"), world, NOW)[0].id, open_drill("us0", world, NOW)

    closed = close_recoveries("us0", world, NOW)

    assert set(closed) == mine
    assert world.catalog.get_recovery(other).deadline == UNTIL
    assert world.catalog.get_recovery(drill).deadline > NOW


def test_what_is_not_open_cannot_be_closed() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)

    with pytest.raises(Refused, match="nothing of 'us0' is open"):
        close_recoveries("us0", world, NOW)


def test_before_the_first_policy_nothing_stands_and_nothing_is_lost() -> None:
    world = a_world()

    assert find_closable(world) == []
    with pytest.raises(Refused, match="nothing of 'us0' is open"):
        close_recoveries("us0", world, NOW)


def test_whoever_closes_a_host_of_which_only_a_restored_server_stands_is_told_by_which_id() -> None:
    world = a_world_with_backups()
    restored = open_restore(RecoveryRequest("us0"), world, NOW).id

    for of in ("us0", "us0a"):
        with pytest.raises(Refused, match=f"nothing of '{of}' is open.* restored server .*: {restored}$"):
            close_recoveries(of, world, NOW)
    with pytest.raises(Refused, match="give a host's name or id"):
        close_recoveries("eu0", world, NOW)


def test_whoever_closes_what_has_just_changed_is_told_to_ask_again() -> None:
    world = a_world_with_backups()
    an_opening_that_stands(world)
    world.catalog.save_recovery = lambda recovery: None  # type: ignore[method-assign]

    with pytest.raises(TransientError, match="ask again"):
        close_recoveries("us0", world, NOW)


# -- every state ------------------------------------------------------------------------------------------------------

MACHINES = [(), *((a_machine(state=state),) for state in ("pending", "running", "shutting-down", "terminated"))]
VOLUMES = [None, a_volume(), a_volume(attached_to="i-1"), a_volume(state="creating"), a_volume(state="deleting")]
STANDING = replace(a_recovery(RecoveryKind.OPENING), machine_id="i-1")
RECOVERIES = [
    a_recovery(RecoveryKind.OPENING),
    STANDING,
    replace(STANDING, verdict="opened", address="10.0.0.1"),
    replace(STANDING, verdict="failed"),
    replace(STANDING, verdict="opened", state=RecoveryState.DONE),
]
TIMES = [NOW, NOW + OPENS_WITHIN, STANDING.deadline]


def every_state() -> list[tuple[Recovery, RecoveryWorld, datetime]]:
    report = wire.parse_recovery_report(a_report(OPENING))
    seen = product(MACHINES, VOLUMES, [None, a_snapshot()], [False, True], [None, report], [False, True], [(), ("n",)])
    worlds = [RecoveryWorld(m, v, s, b, r, is_opened=o, shut_out=n) for m, v, s, b, r, o, n in seen]
    return [(recovery, world, now) for recovery, world, now in product(RECOVERIES, worlds, TIMES)]


LAWS: dict[str, Callable[[Recovery, RecoveryWorld, datetime, tuple[Action, ...]], bool]] = {
    "only what is closed has nothing to do": lambda recovery, _, __, actions: (not actions) is recovery.state.is_final,
    "nothing is ever proven": lambda _, __, ___, actions: not any(isinstance(each, MarkProven) for each in actions),
    "what stands is never taken down before its time": lambda recovery, _, now, actions: (
        recovery.verdict != "opened"
        or now >= recovery.deadline
        or not any(isinstance(each, TerminateMachine | DeleteVolume | CloseRecovery) for each in actions)
    ),
    "after its time nothing is brought up": lambda recovery, _, now, actions: (
        now < recovery.deadline
        or not any(isinstance(each, CreateVolume | AttachVolume | AdmitNetworks) for each in actions)
    ),
    "it closes only when no machine and no volume is left": lambda _, world, __, actions: (
        not any(isinstance(each, CloseRecovery) for each in actions)
        or (
            all(machine.is_gone for machine in world.machines)
            and (world.volume is None or world.volume.state == "deleting")
        )
    ),
    "it stands only where a machine runs that said so": lambda _, world, __, actions: (
        not any(isinstance(each, RecordOpened) for each in actions)
        or (world.is_opened and any(machine.state == "running" for machine in world.machines))
    ),
    "it fails with a reason": lambda _, __, ___, actions: all(
        each.findings for each in actions if isinstance(each, RecordVerdict)
    ),
}


@pytest.mark.parametrize("law", LAWS)
def test_in_every_state(law: str) -> None:
    states = every_state()

    broken = [
        (recovery, world, now, plan(recovery, world, now))
        for recovery, world, now in states
        if not LAWS[law](recovery, world, now, plan(recovery, world, now))
    ]

    assert len(states) > 5000
    assert broken[:1] == []


def test_what_ec2_is_busy_with_is_waited_for_after_its_time_too() -> None:
    leaving = RecoveryWorld((a_machine(state="shutting-down"),), a_volume(attached_to="i-1"), None, True, None)

    (action,) = plan(replace(STANDING, verdict="opened"), leaving, STANDING.deadline)

    assert isinstance(action, Wait)


# -- interruptions ----------------------------------------------------------------------------------------------------


def test_with_every_event_lost_the_tick_alone_opens_and_closes_it() -> None:
    world = a_world_with_backups()
    open_to_host(US0, world, NOW)

    by_ticks_alone(world, NOW)
    the_machine_opens(world)
    by_ticks_alone(world, NOW + timedelta(minutes=5))
    opened = world.catalog.get_recovery(OPENING)
    by_ticks_alone(world, UNTIL)

    assert opened.verdict == "opened"
    assert world.catalog.get_recovery(OPENING).state is RecoveryState.DONE
    assert is_taken_down(world)


def test_an_opening_that_stood_when_the_table_was_lost_stands_again() -> None:
    world = a_world_with_backups()
    before = an_opening_that_stands(world)
    after = replace(world, catalog=FakeCatalog())

    rebuild(after)
    recover(OPENING, after, NOW)

    known = after.catalog.get_recovery(OPENING)
    assert (known.verdict, known.address, known.deadline) == (before.verdict, before.address, before.deadline)
    assert len(world.machines.requests) == 1


def an_opening_with_one_crash(world: FakeWorld, fuse: Fuse) -> None:
    fused = a_fused_world(world, fuse)
    retried_once(lambda: open_to_host(US0, fused, NOW))
    retried_once(lambda: recover(OPENING, fused, NOW))
    the_machine_opens(world)
    retried_once(lambda: recover(OPENING, fused, NOW))
    retried_once(lambda: close_recoveries("us0", fused, NOW))
    retried_once(lambda: recover(OPENING, fused, NOW))


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_trying_again(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_backups(), Fuse(at, after)

        an_opening_with_one_crash(world, fuse)

        recovery = world.catalog.get_recovery(OPENING)
        assert (recovery.state, recovery.verdict) == (RecoveryState.DONE, "opened"), f"call {at}"
        assert len(world.catalog.recoveries) == 1, f"call {at}"
        assert len(world.machines.requests) == 1, f"call {at}"
        assert len(world.volumes.made_from) == 1, f"call {at}"
        assert is_taken_down(world), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"an opening takes more than {MOST_CALLS} calls")


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(PermanentError, match="no host of the policy"):
        open_to_host(OpeningRequest("nobody"), a_world_with_backups(), NOW)
