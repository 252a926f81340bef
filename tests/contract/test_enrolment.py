"""What install prints for the operator is what the policy takes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.ids import LABEL
from chalicelib.core.policy_file import parse
from ebbtide_agent.host.enrolment import policy_lines, volume_lines
from tests.builders import A_KEY

RECEIVER = """
schema = 1

[receiver.main]
window   = "02:00-06:00"
timezone = "Europe/London"
name     = "backup.example.org"
allow    = ["198.51.100.0/24"]
instance = ["t4g.small"]
volume   = { size = "80GiB" }
hosts    = ["HOST"]

"""
KEY = " ".join(A_KEY.split()[:2])
FOLLOWING = KEY.replace("A" * 43, "B" * 43)
names = st.lists(st.from_regex(LABEL, fullmatch=True), min_size=1, max_size=3).map(".".join)


@settings(max_examples=30)
@given(names)
def test_the_printed_lines_are_a_host_of_the_policy(name: str) -> None:
    policy = parse(RECEIVER.replace("HOST", name) + policy_lines(name, "backup.example.org", [KEY]), "000001")

    host = policy.hosts[name]
    assert host.keys == (f"{KEY} {name}",)
    assert host.target == "receiver"


def test_while_a_key_rotates_both_are_in_them() -> None:
    policy = parse(RECEIVER.replace("HOST", "us0") + policy_lines("us0", "backup.example.org", [KEY, FOLLOWING]), "1")

    assert policy.hosts["us0"].keys == (f"{KEY} us0", f"{FOLLOWING} us0")


@settings(max_examples=30)
@given(names)
def test_a_host_with_a_volume_of_its_own_is_one_of_the_policy_too(name: str) -> None:
    restored_on = 'schema = 1\n[restore.instance]\narm64 = "t4g.medium"\n'
    policy = parse(restored_on + volume_lines(name, "web1", "i-0123456789abcdef0"), "000001")

    host = policy.hosts[name]
    assert (host.id, host.target, host.instance_id) == ("web1", "volume", "i-0123456789abcdef0")
