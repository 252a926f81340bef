"""What sshd is told: each key starts the gate of its own host and nothing else."""

import pytest

from ebbtide_agent.host.connections import IDLE_SECONDS
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.brief import BriefedHost
from ebbtide_agent.receiver.sshd import CROWD, FEW, UNUSED_SECONDS, Crowd, Door, authorized_keys, sshd_config

KEYS = ("ssh-ed25519 AAAA old@us0", "ssh-ed25519 BBBB new@us0")


def a_door(knocking: Crowd = CROWD, **environment: str) -> Door:
    gate = ("/usr/bin/python3", "/opt/e.pyz", "gate")
    return Door(22, gate, environment, as_root=True, strict=True, may_unlock=True, knocking=knocking)


def test_each_of_a_hosts_keys_is_restricted_to_its_gate() -> None:
    lines = authorized_keys((BriefedHost("us0", "us0a", 2435978, KEYS, "n"),), a_door().gate).splitlines()

    assert lines == [f'restrict,command="/usr/bin/python3 /opt/e.pyz gate us0a" {key}' for key in KEYS]


def test_a_path_with_spaces_and_quotes_stays_one_word() -> None:
    host = BriefedHost("us0", "us0a", 2435978, KEYS[:1], "n")

    (line,) = authorized_keys((host,), ('/a "b"/python', "gate")).splitlines()

    assert line == f"""restrict,command="'/a \\"b\\"/python' gate us0a" {KEYS[0]}"""


def test_the_gates_environment_is_set_and_quoted() -> None:
    lines = sshd_config(MachinePaths(), "root", a_door(HOME="/root", AWS_X='a"b')).splitlines()

    assert lines[-1] == 'SetEnv "AWS_X=a\\"b" "HOME=/root"'


def test_root_may_come_in_through_a_forced_command_only() -> None:
    lines = sshd_config(MachinePaths(), "root", a_door()).splitlines()

    assert {"PermitRootLogin forced-commands-only", "DisableForwarding yes", "PermitTTY no", "StrictModes yes"} <= {
        *lines
    }


def test_hundreds_may_knock_on_a_receiver_and_few_on_somebodys_server() -> None:
    assert "MaxStartups 200:30:300" in sshd_config(MachinePaths(), "root", a_door(CROWD)).splitlines()
    assert "MaxStartups 30:30:100" in sshd_config(MachinePaths(), "root", a_door(FEW)).splitlines()


@pytest.mark.parametrize("crowd", [CROWD, FEW])
def test_one_address_alone_leaves_nobody_elses_coming_in_to_chance(crowd: Crowd) -> None:
    assert 2 * crowd.of_one <= crowd.free <= crowd.most


def test_a_host_has_let_go_of_its_own_connection_before_the_receiver_would() -> None:
    assert UNUSED_SECONDS >= IDLE_SECONDS + 30
