"""What stands in the way of the next night is found by day: judged purely, looked at through every port, told once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.advice import Kind
from chalicelib.core.alarms import find_troubles
from chalicelib.core.bill import Cost, Part, budgets
from chalicelib.core.model import Volume
from chalicelib.core.policy import AlarmPolicy, DrillPolicy
from chalicelib.core.preflight import (
    MOST_USED,
    SILENT_AFTER,
    Key,
    Preflight,
    Quota,
    QuotaName,
    Refusal,
    Seen,
    is_standard,
    judge,
    subjects,
)
from chalicelib.core.sweep import OVERDUE, Removal
from chalicelib.core.trouble import Trouble
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.apply import apply_policy
from chalicelib.flows.preflight import preflight
from chalicelib.flows.tell import tell
from chalicelib.ports import StackRole
from tests.builders import A_POLICY_TEXT, a_moment, a_night, a_policy, a_snapshot, a_volume, some_facts
from tests.fakes import FakeAccount, FakeWorld, a_world
from tests.past import a_world_with_a_past

ONLY_OWN_VOLUMES = Path(__file__).parents[1] / "policies/valid/only-own-volumes.toml"
NOON, HERE, THERE = a_moment(12), "us-east-1", "eu-central-1"
WITH_COPIES = A_POLICY_TEXT + f'\n[copy]\nregion = "{THERE}"\nretention = {{ daily = 2 }}\n'


def found(seen: Seen, before: Preflight | None = None) -> list[Trouble]:
    return list(judge(seen, before, NOON).troubles)


# -- judged -----------------------------------------------------------------------------------------------------------


def test_what_is_all_there_is_no_trouble() -> None:
    fine = Seen(
        keys=(Key("key-1", HERE, "Enabled", holds=("volume vol-1",)),), quotas=(a_quota(used=0, needed=1, limit=100),)
    )

    assert found(fine) == []


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion", "PendingImport", "Unavailable", "Creating"])
def test_a_key_that_is_not_enabled_is_named_with_what_it_encrypts(state: str) -> None:
    (trouble,) = found(Seen(keys=(Key("key-1", HERE, state, holds=("volume vol-1", "9 snapshots")),)))

    assert trouble.kind is Kind.KEY_UNUSABLE
    assert trouble.what == f"key key-1 in us-east-1 is {state}"
    assert "it encrypts volume vol-1, 9 snapshots" in trouble.details


def test_a_key_about_to_be_deleted_says_when() -> None:
    doomed = Key("key-1", HERE, "PendingDeletion", deletion=a_moment(9, day=30))

    (trouble,) = found(Seen(keys=(doomed,)))

    assert trouble.what.endswith("is PendingDeletion: it is deleted at 2026-11-30 09:00 UTC")


def test_a_key_that_is_enabled_and_refuses_a_dry_use_is_told() -> None:
    (trouble,) = found(Seen(keys=(Key("key-1", HERE, "Enabled", refused="KMSInvalidStateException"),)))

    assert trouble.what == "key key-1 in us-east-1 cannot be used: KMSInvalidStateException"


def a_quota(used: float, needed: float, limit: float, name: QuotaName = QuotaName.VCPUS) -> Quota:
    return Quota(name, HERE, limit, used, needed)


def test_a_quota_that_the_next_night_does_not_fit_into_is_told_with_its_figures() -> None:
    (trouble,) = found(Seen(quotas=(a_quota(used=3, needed=3, limit=5),)))

    assert trouble.kind is Kind.QUOTA
    assert trouble.what == (
        "3 of 5 vCPUs of standard on-demand machines in us-east-1 are used, and the next night needs 3"
    )


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_a_quota_is_told_when_it_is_too_small_or_four_fifths_used_and_only_then(
    used: int, needed: int, limit: int
) -> None:
    is_told = bool(found(Seen(quotas=(a_quota(used, needed, limit),))))

    assert is_told == (used + needed > limit or used >= MOST_USED * limit)


def test_figures_that_move_are_no_news_but_a_night_that_no_longer_fits_is() -> None:
    (at_80,), (at_81,), (full,) = (
        found(Seen(quotas=(a_quota(used, needed, 100),))) for used, needed in ((80, 1), (81, 1), (81, 20))
    )

    assert at_80.occurrence == at_81.occurrence != full.occurrence


def test_a_refused_launch_is_one_trouble_of_its_receiver_with_every_machine_of_it() -> None:
    refusals = (
        Refusal("main", "a t4g.small in subnet-a", "UnauthorizedOperation"),
        Refusal("main", "a t4g.small in subnet-b", "InvalidSubnetID.NotFound"),
        Refusal("restores", "a t4g.small in subnet-a", "UnauthorizedOperation"),
    )

    main, restores = found(Seen(refusals=refusals))

    assert main.what == "EC2 would not launch a t4g.small in subnet-a for receiver main: UnauthorizedOperation"
    assert main.details == ("a t4g.small in subnet-b: InvalidSubnetID.NotFound",)
    assert restores.name == "the launch of restores"


def test_what_is_left_standing_is_one_trouble_with_why_each_should_be_gone_and_more_of_it_is_news() -> None:
    left = tuple(Removal(f"vol-{number}", "it expired") for number in range(30))

    (one,), (all_of_them,) = found(Seen(left=left[:1])), found(Seen(left=left))

    assert (one.kind, one.what) == (Kind.LEFT_STANDING, "vol-0 stands, and costs: it expired")
    assert one.details == ()
    assert all_of_them.details[0] == "vol-1: it expired"
    assert len(all_of_them.details) == 19
    assert one.occurrence != all_of_them.occurrence


def test_a_page_that_aws_answered_with_is_told_in_a_line() -> None:
    page = "<html>\n\n<h1>500</h1>\n" + "x" * 10_000

    refused, unseen = found(Seen(refusals=(Refusal("main", "a t4g.small", page),), unseen={"key-1": page}))

    assert "\n" not in refused.what + unseen.details[0]
    assert len(unseen.details[0]) < 600


OF_CENTS = replace(a_policy(), alarm=AlarmPolicy(budget="1 USD/year"), drill=DrillPolicy(7, "1 USD/year"))
SOME_SEEN = st.builds(
    Seen,
    refusals=st.lists(st.builds(Refusal, st.sampled_from(["main", "restores"]), st.text(), st.text())).map(tuple),
    keys=st.lists(st.builds(Key, st.text(), st.text(), st.sampled_from(["Enabled", "Disabled"]))).map(tuple),
    quotas=st.lists(
        st.builds(Quota, st.sampled_from(QuotaName), st.sampled_from([HERE, THERE]), *[st.floats(0, 1e6)] * 3)
    ).map(tuple),
    keyless=st.sampled_from([(), ("main",)]),
    agent_missing=st.none() | st.just("agent/ebbtide-agent.pyz"),
    unseen=st.dictionaries(st.text(), st.text()),
    left=st.lists(st.builds(Removal, st.text(), st.text())).map(tuple),
    budgets=st.sampled_from([(), budgets(Cost((Part("drills", 9.0, "", True),)), OF_CENTS)]),
)


@given(SOME_SEEN)
def test_a_subject_has_one_trouble_at_most_and_is_known_to_the_policy(seen: Seen) -> None:
    abouts = [trouble.about for trouble in found(seen)]

    assert sorted(abouts) == sorted(set(abouts))
    assert set(abouts) <= subjects(a_policy())


@given(st.lists(SOME_SEEN, min_size=1, max_size=4))
def test_what_stands_day_after_day_stands_since_the_first_of_them(days: Sequence[Seen]) -> None:
    latest, first_seen = None, {}
    for day, seen in enumerate(days):
        latest = judge(seen, latest, NOON + timedelta(days=day))
        first_seen = {each.about: first_seen.get(each.about, latest.at) for each in latest.troubles}

        assert {each.about: each.since for each in latest.troubles} == first_seen


STANDARD = ("t4g.small", "m7g.medium", "c7gn.large", "i4i.large", "im4gn.large", "a1.large")
OTHERS = ("g5g.xlarge", "inf2.xlarge", "p5.48xlarge", "mac2.metal", "dl1.24xlarge", "x2gd.2xlarge", "hpc7g.4xlarge")


def test_the_quota_counts_standard_families_only() -> None:
    assert [each for each in (*STANDARD, *OTHERS) if is_standard(each)] == list(STANDARD)


# -- told -------------------------------------------------------------------------------------------------------------


def test_the_latest_findings_are_told_but_not_of_a_receiver_that_left_the_policy() -> None:
    seen = Seen(keyless=("main", "gone"))

    troubles = find_troubles(some_facts(a_night(), preflight=judge(seen, None, NOON)), NOON)

    assert [trouble.about for trouble in troubles] == ["preflight/host key/main"]


@pytest.mark.parametrize("looked", [a_moment(12, day=20), None])
def test_two_days_without_a_preflight_are_told(looked: object) -> None:
    latest = Preflight(a_moment(12, day=20)) if looked else None
    first_run = a_moment(2, day=20)
    facts = some_facts(a_night(20), preflight=latest)
    due = (latest.at if latest else first_run) + SILENT_AFTER

    (before, at) = (find_troubles(facts, due - timedelta(seconds=1)), find_troubles(facts, due))

    assert before == ()
    assert [trouble.kind for trouble in at] == [Kind.PREFLIGHT_SILENT]


def test_before_the_first_night_nobody_expects_a_preflight() -> None:
    assert find_troubles(some_facts(preflight=None), NOON) == ()


# -- looked at --------------------------------------------------------------------------------------------------------


def a_world_that_is_ready(text: str = A_POLICY_TEXT) -> FakeWorld:
    world = a_world()
    apply_policy(text, None, world, a_moment(1))
    world.archive.put_once(world.settings.agent, b"the agent")
    return world


def abouts(world: FakeWorld) -> list[str]:
    return [trouble.about for trouble in preflight(world, NOON).troubles]


def test_a_world_that_has_everything_has_no_trouble_and_that_is_recorded() -> None:
    world = a_world_that_is_ready()

    assert preflight(world, NOON) == world.catalog.find_preflight() == Preflight(NOON)
    assert world.lambdas.invoked == [("tell_operators", wire.telling_payload())]


def test_it_tries_every_machine_that_a_night_or_a_restore_may_ask_for_and_launches_none() -> None:
    world = a_world_that_is_ready()

    preflight(world, NOON)

    tried = [(each.security_group, each.instance_type, each.subnet) for each in world.machines.tried]
    assert tried == [
        ("sg-receiver", "t4g.small", "subnet-a"),
        ("sg-receiver", "t4g.small", "subnet-b"),
        ("sg-receiver", "t4g.medium", "subnet-a"),
        ("sg-drill", "t4g.small", "subnet-a"),
        ("sg-restore", "t4g.small", "subnet-a"),
        ("sg-drill", "t4g.small", "subnet-b"),
        ("sg-restore", "t4g.small", "subnet-b"),
        ("sg-drill", "t4g.medium", "subnet-a"),
        ("sg-restore", "t4g.medium", "subnet-a"),
    ]
    assert len({each.token for each in world.machines.tried}) == 9
    assert {each.tags[tags.ROLE] for each in world.machines.tried} == {"preflight"}
    assert {each.profile for each in world.machines.tried if each.security_group == "sg-receiver"} == {None}
    assert world.machines.by_id == {}


def test_it_changes_nothing_but_its_own_record() -> None:
    world = a_world_with_a_past()
    world.lambdas.invoked.clear()
    before = unchanging(world)

    preflight(world, NOON)

    assert unchanging(world) == before


def unchanging(world: FakeWorld) -> tuple[object, ...]:
    catalog, volumes = world.catalog, world.volumes
    return (
        dict(world.machines.by_id),
        dict(volumes.volumes),
        dict(volumes.snapshots),
        dict(world.archive.objects),
        (dict(catalog.runs), dict(catalog.recoveries), dict(catalog.points), dict(catalog.told)),
        (world.address.networks, dict(world.address.names), world.copies.asked),
    )


def test_what_ec2_would_not_launch_is_found() -> None:
    world = a_world_that_is_ready()
    world.machines.against["subnet-b"] = PermanentError("InvalidSubnetID.NotFound")

    assert abouts(world) == ["preflight/launch/main", "preflight/launch/restores"]


def test_the_keys_of_volumes_old_snapshots_and_what_is_made_next_are_all_looked_at() -> None:
    world = a_world_that_is_ready()
    world.volumes.volumes["vol-1"] = replace(a_volume(), tags={tags.ROLE: tags.Role.DATA}, key="key-of-volume")
    world.volumes.snapshots["snap-1"] = replace(a_snapshot(), key="key-of-old")
    for key_id in ("key-of-volume", "key-of-old", "key-1"):
        world.account.keys = {key_id: Key(key_id, HERE, "Disabled")}

        (trouble,) = preflight(world, NOON).troubles

        assert trouble.what == f"key {key_id} in us-east-1 is Disabled"


def test_where_there_are_copies_the_quota_that_aws_can_raise_is_looked_at_over_there() -> None:
    """Not how many are under way: copying never asks for more than EC2 takes, and what comes late is told."""
    world = a_world_that_is_ready(WITH_COPIES)
    world.account.used = {(THERE, name): 1_000_000 for name in QuotaName}

    assert abouts(world) == ["preflight/quota/snapshots"]


def test_a_night_needs_its_receivers_a_restore_and_what_volumes_lack() -> None:
    world = a_world_that_is_ready()
    kept = replace(a_volume(), size_gib=30, tags={tags.ROLE: tags.Role.DATA, tags.RECEIVER: "main"})
    world.volumes.volumes["vol-1"] = kept
    world.account.limits = {(HERE, QuotaName.VCPUS): 3.9, (HERE, QuotaName.GP3): 129.9}

    vcpus, gib = preflight(world, NOON).troubles

    assert vcpus.what.endswith("and the next night needs 4")
    assert gib.what.endswith("and the next night needs 130")


def test_a_missing_agent_and_a_missing_host_key_are_found() -> None:
    world = a_world_that_is_ready()
    world.archive.objects.pop(world.settings.agent)
    world.account.missing_parameters.add("/ebbtide/main/host-key")

    assert abouts(world) == ["preflight/agent", "preflight/host key/main"]


def test_the_hosts_whose_guard_the_policy_has_switched_off_are_found() -> None:
    text = A_POLICY_TEXT.replace("[host.us0]\n", '[host.us0]\nguard = "off"\n')

    world = a_world_that_is_ready(text)

    (trouble,) = preflight(world, NOON).troubles
    assert trouble.about == "preflight/guards"
    assert trouble.what == 'the policy says guard = "off" for us0: what is gone or rewritten there is not noticed'
    assert abouts(replace(world, settings=replace(world.settings, role=StackRole.STANDBY))) == []


def test_what_no_sweep_has_removed_is_found_and_stays_so_while_nobody_can_look() -> None:
    world = a_world_that_is_ready()
    expired = {tags.SCHEMA: "1", tags.RECOVERY: "us0a/2026-11-22/1", tags.EXPIRES: (NOON - OVERDUE).isoformat()}
    world.volumes.volumes["vol-1"] = replace(a_volume(attached_to="i-9"), tags=expired)

    assert abouts(world) == ["preflight/left"]
    world.volumes.find_volumes = lambda tags: refuse()  # type: ignore[method-assign]
    assert "preflight/left" in abouts(world)


def refuse() -> list[Volume]:
    raise PermanentError("AccessDenied")


@pytest.mark.parametrize("fault", [PermanentError("AccessDenied"), TransientError("Throttling")])
def test_what_cannot_be_looked_at_is_found_and_hides_nothing_else(fault: PermanentError | TransientError) -> None:
    world = a_world_that_is_ready()
    world.account.unseen = {"key-1": fault, QuotaName.GP3: fault}
    world.account.missing_parameters.add("/ebbtide/main/host-key")

    missing, blind = preflight(world, NOON).troubles

    assert missing.about == "preflight/host key/main"
    assert blind.kind is Kind.PREFLIGHT_BLIND
    assert blind.details == (
        f"key key-1 in us-east-1: {fault}",
        f"the quota of GiB of gp3 volumes in us-east-1: {fault}",
    )


def test_a_launch_that_ec2_gave_no_answer_to_is_unseen_and_not_refused() -> None:
    world = a_world_that_is_ready()
    world.machines.against["t4g.medium"] = TransientError("RequestLimitExceeded")

    (blind,) = preflight(world, NOON).troubles

    assert blind.kind is Kind.PREFLIGHT_BLIND
    assert blind.details[0] == "a t4g.medium in subnet-a: RequestLimitExceeded"


def test_a_standby_looks_at_restores_and_its_copies_only() -> None:
    world = a_world_that_is_ready(WITH_COPIES)
    world = replace(world, settings=replace(world.settings, role=StackRole.STANDBY, region=THERE))
    copied = replace(a_snapshot("snap-dr"), tags={tags.ROLE: tags.Role.COPY}, key="key-of-copies")
    world.volumes.snapshots["snap-dr"] = copied
    world.account.keys["key-of-copies"] = Key("key-of-copies", THERE, "PendingDeletion")

    (trouble,) = preflight(world, NOON).troubles

    assert {(each.security_group, each.profile) for each in world.machines.tried} == {
        (group, world.settings.image_profile) for group in ("sg-drill", "sg-restore")
    }
    assert trouble.what == "key key-of-copies in eu-central-1 is PendingDeletion"


def test_where_every_host_has_a_volume_of_its_own_only_a_restore_is_tried() -> None:
    world = a_world_that_is_ready(ONLY_OWN_VOLUMES.read_text())

    assert abouts(world) == []
    tried = {(each.security_group, each.instance_type) for each in world.machines.tried}
    assert tried == {("sg-drill", "t4g.medium"), ("sg-restore", "t4g.medium")}


def test_without_a_policy_there_is_nothing_to_look_at() -> None:
    assert preflight(a_world(), NOON) == Preflight(NOON)


def test_what_was_mended_is_well_again_after_the_next_preflight() -> None:
    world = a_world_that_is_ready()
    world.account.keys["key-1"] = Key("key-1", HERE, "Disabled")
    preflight(world, NOON)
    tell(world, NOON)
    world.account.keys.clear()
    preflight(world, NOON + timedelta(hours=1))

    tell(world, NOON + timedelta(hours=1))

    assert world.alarms.subjects == [
        "key unusable: key key-1 in us-east-1 is Disabled",
        "the encryption keys is well again",
    ]


@pytest.mark.parametrize(
    ("unseen", "lasting"),
    [
        ("key-1", "preflight/keys"),
        (QuotaName.GP3, "preflight/quota/gp3"),
        ("/ebbtide/main/host-key", "preflight/host key/main"),
        ("t4g.small", "preflight/launch/main"),
    ],
)
def test_what_was_wrong_and_cannot_be_looked_at_is_not_well_again_by_that_and_all_else_is(
    unseen: str, lasting: str
) -> None:
    world = a_world_that_is_ready()
    world.account.keys["key-1"] = Key("key-1", HERE, "Disabled")
    world.account.limits[HERE, QuotaName.GP3] = 1
    world.account.missing_parameters.add("/ebbtide/main/host-key")
    world.machines.against["t4g.small"] = PermanentError("Unsupported")
    wrong = {trouble.about: trouble for trouble in preflight(world, NOON).troubles}
    world, later = replace(world, account=FakeAccount()), NOON + timedelta(days=1)
    world.account.unseen[unseen] = PermanentError("AccessDenied")
    world.machines.against = {"t4g.small": TransientError("Throttling")} if unseen == "t4g.small" else {}

    blind = {trouble.about: trouble for trouble in preflight(world, later).troubles}

    assert blind.pop("preflight/unseen").since == later
    assert blind.pop(lasting) == wrong[lasting]
    assert blind.keys() <= {"preflight/launch/restores"}
    world.account.unseen.clear()
    world.machines.against.clear()
    assert preflight(world, later).troubles == ()
