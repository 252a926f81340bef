"""What a new policy changes: one line for each, in the words of the file."""

from dataclasses import replace
from datetime import time

from chalicelib.core.policy import DrillPolicy, HostPolicy, Policy
from chalicelib.core.policy_changes import describe_changes
from chalicelib.core.retention import Rules
from tests.builders import A_KEY, a_policy, a_receiver


def a_policy_with(**receiver: object) -> Policy:
    return replace(a_policy(), receivers={"main": replace(a_receiver(), **receiver)})  # type: ignore[arg-type]


def test_the_same_policy_in_a_new_version_changes_nothing() -> None:
    assert describe_changes(a_policy("000001"), a_policy("000002")) == []


def test_a_changed_value_is_told_with_what_it_was() -> None:
    new = a_policy_with(start=time(22, 30), instances=("t4g.medium",))

    assert describe_changes(a_policy(), new) == [
        "receiver.main.window: 02:00-06:00 → 22:30-06:00",
        "receiver.main.instance: t4g.small, t4g.medium → t4g.medium",
    ]


def test_what_comes_and_what_goes_is_told_from_and_to_none() -> None:
    old = replace(a_policy(), drill=DrillPolicy(7))
    new = replace(a_policy(), retention=Rules(daily=14))
    us0 = replace(new.hosts["us0"], quota_gib=30, guard="off", retention=Rules(last=1), start_list=("sshd", "nginx"))
    new = replace(new, hosts=new.hosts | {"us0": us0})

    assert describe_changes(old, new) == [
        "host.us0.start: none → sshd, nginx",
        "host.us0.guard: on → off",
        "retention.daily: 7 → 14",
        "drill.every: 7 days → none",
        "host.us0.quota: none → 30GiB",
        "host.us0.retention.last: none → 1",
    ]


def test_a_host_that_comes_or_goes_is_one_line() -> None:
    old = a_policy()
    web = HostPolicy("web.example.org", "web1", (A_KEY,))
    new = replace(old, hosts={"us0": old.hosts["us0"], web.name: web})

    assert describe_changes(old, new) == [
        'host."web.example.org": added',
        "host.eu0: removed; its restore points stay",
    ]


def test_the_first_policy_adds_everything() -> None:
    changes = describe_changes(None, a_policy())

    assert changes[:3] == ["host.eu0: added", "host.us0: added", "receiver.main: added"]
    assert "retention.daily: none → 7" in changes
