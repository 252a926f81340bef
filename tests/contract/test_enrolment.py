"""What install prints for the operator is what the policy takes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.ids import LABEL
from chalicelib.core.policy_file import parse
from ebbtide_agent.host.enrolment import policy_lines
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
