"""A server is brought up on a machine that runs what its own did, from the image for that; or not at all, and that is
said before anything is made."""

from dataclasses import replace

import pytest

from chalicelib import wire
from chalicelib.core.architectures import TYPES, footing
from chalicelib.core.model import RecoveryId, RecoveryState
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.opening import OpeningRequest
from chalicelib.core.policy_file import parse
from chalicelib.core.policy_values import architecture_of
from chalicelib.errors import PermanentError
from chalicelib.flows.open_recovery import open_drill, open_restore, open_to_host
from chalicelib.flows.preflight import preflight
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from tests.builders import A_POLICY_TEXT, a_run, a_run_id
from tests.fakes import FakeCatalog, FakeWorld
from tests.recoveries import NOW, a_world_with_backups, put_into_force, the_night_reports

A_POLICY = parse(A_POLICY_TEXT, "000001")
OF_BOTH = parse(A_POLICY_TEXT + '\n[restore.instance]\narm64 = "m7g.large"\nx86_64 = "m7i.large"\n', "000001")
ON_X86 = parse(A_POLICY_TEXT.replace("t4g.", "t3a.").replace("m7g.", "m7i."), "000001")


def a_world_with_a_host_that_is(machine: str | None) -> FakeWorld:
    world = a_world_with_backups(22)
    the_night_reports(world, 22, machine)
    return world


def brought_up(world: FakeWorld) -> RecoveryId:
    recovery_id = open_drill("us0", world, NOW)
    recover(recovery_id, world, NOW)
    return recovery_id


# -- on what ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "instances", "is_other"),
    [
        ("aarch64", ("t4g.small", "t4g.medium"), False),
        ("armv7l", ("t4g.small", "t4g.medium"), False),
        ("x86_64", ("t3a.medium",), True),
        ("i686", ("t3a.medium",), True),
        (None, ("t4g.small", "t4g.medium"), False),
    ],
)
def test_without_a_word_it_is_its_receivers_types_or_the_usual_one_of_the_other_architecture(
    machine: str | None, instances: tuple[str, ...], is_other: bool
) -> None:
    found = footing(machine, A_POLICY, "main")

    assert (found.instances, found.is_other) == (instances, is_other)


@pytest.mark.parametrize(
    ("machine", "instance", "is_other"),
    [("aarch64", "m7g.large", False), ("x86_64", "m7i.large", True), (None, "m7g.large", False)],
)
def test_the_policys_types_are_each_for_their_architecture(machine: str | None, instance: str, is_other: bool) -> None:
    found = footing(machine, OF_BOTH, "main")

    assert (found.instances, found.is_other) == ((instance,), is_other)


def test_where_receivers_are_of_intels_architecture_the_other_one_is_arm() -> None:
    assert not footing("x86_64", ON_X86, "main").is_other
    assert not footing(None, ON_X86, "main").is_other
    assert footing("aarch64", ON_X86, "main").is_other


def test_a_host_without_a_receiver_or_a_policy_is_brought_up_all_the_same() -> None:
    assert footing("aarch64", A_POLICY, "gone").instances == ("t4g.medium",)
    assert footing("x86_64", None, "main").instances == ("t3a.medium",)


def test_the_usual_types_are_of_their_architecture() -> None:
    assert {architecture_of(instance): instance for instance in TYPES.values()} == TYPES


# -- a recovery -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "instance", "template"), [("x86_64", "t3a.medium", "lt-other"), ("aarch64", "t4g.small", None)]
)
def test_a_recovery_is_launched_as_the_report_of_its_night_says(
    machine: str, instance: str, template: str | None
) -> None:
    world = a_world_with_a_host_that_is(machine)

    recovery = world.catalog.get_recovery(brought_up(world))

    assert [(each.instance_type, each.template) for each in world.machines.requests] == [(instance, template)]
    assert recovery.findings == ()


@pytest.mark.parametrize("is_there", [True, False])
def test_without_a_word_it_is_brought_up_as_receivers_are_and_that_is_a_finding(is_there: bool) -> None:
    world = a_world_with_a_host_that_is(None)
    if not is_there:
        del world.archive.objects[wire.report_key(a_run(a_run_id(22)), "us0a")]

    recovery = world.catalog.get_recovery(brought_up(world))

    assert [(each.instance_type, each.template) for each in world.machines.requests] == [("t4g.small", None)]
    assert "says what machine its host is" in recovery.findings[0]


def test_a_host_that_the_catalogue_has_lost_is_brought_up_as_its_report_says() -> None:
    world = replace(a_world_with_a_host_that_is("x86_64"), catalog=FakeCatalog())
    rebuild(world)

    brought_up(world)

    assert [each.template for each in world.machines.requests] == ["lt-other"]


def test_an_opening_boots_nothing_of_its_host_and_stands_where_receivers_do() -> None:
    world = a_world_with_a_host_that_is("riscv64")
    opening, _ = open_to_host(OpeningRequest("us0"), world, NOW)

    recover(opening.id, world, NOW)

    assert [(each.instance_type, each.template) for each in world.machines.requests] == [("t4g.small", None)]


def test_what_nothing_runs_fails_at_once_and_says_why_and_nothing_is_made() -> None:
    world = a_world_with_a_host_that_is("riscv64")
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id

    recovery = recover(recovery_id, world, NOW).recovery

    assert recovery.state is RecoveryState.FAILED
    assert "a machine of 'riscv64'" in recovery.findings[0]
    assert (world.machines.requests, world.volumes.created) == ([], 0)
    with pytest.raises(PermanentError, match="a machine of 's390x'"):
        footing("s390x", A_POLICY, "main")


# -- by day -----------------------------------------------------------------------------------------------------------


def test_the_preflight_tries_the_other_architecture_where_the_policy_names_a_type_for_it() -> None:
    world = a_world_with_backups()
    put_into_force(world, A_POLICY_TEXT + '\n[restore.instance]\nx86_64 = "m7i.large"\n')

    preflight(world, NOW)

    tried = {(each.instance_type, each.template) for each in world.machines.tried if each.security_group == "sg-drill"}
    assert tried == {("t4g.small", None), ("t4g.medium", None), ("m7i.large", "lt-other")}
