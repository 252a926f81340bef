"""A shell of the sandbox: it knows the sandbox's AWS and no other, and on a host that host's own agent."""

import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chalicelib.errors import ConfigError, Refused
from ebbtide_console.sandbox import background
from ebbtide_console.sandbox.at_hand import AGENT, variables
from ebbtide_console.sandbox.claim import ENDPOINT, STOP

ACCESS = background.Access("http://127.0.0.1:1", "http://10.77.0.1:2", "eu-central-1")
OUTSIDE = {"HOME": "/home/ada", "PATH": "/usr/bin:/bin", "AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "secret"}


def test_of_aws_it_has_the_sandbox_as_it_is_reached_from_within_and_nothing_of_whoever_is_at_the_keyboard() -> None:
    inside = variables(ACCESS, Path("/nowhere"), None, OUTSIDE)

    assert {name: value for name, value in inside.items() if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL": "http://10.77.0.1:2",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
    }
    assert inside["HOME"] == "/home/ada"


def test_on_a_host_the_agent_has_that_hosts_files(tmp_path: Path) -> None:
    (tmp_path / "hosts/us0/etc").mkdir(parents=True)
    (tmp_path / "hosts/us0/etc/backup_config").touch()
    (tmp_path / AGENT).write_text("import sys; print(*sys.argv[1:])")

    inside = variables(ACCESS, tmp_path, "us0", OUTSIDE)
    said = subprocess.run(["ebbtide-agent", "list"], env=inside, capture_output=True, text=True, check=True).stdout

    assert said == f"list --etc {tmp_path}/hosts/us0/etc --state {tmp_path}/hosts/us0/var\n"


def test_a_host_that_had_no_night_is_told_with_those_that_had_one(tmp_path: Path) -> None:
    (tmp_path / "hosts/eu0/etc").mkdir(parents=True)
    (tmp_path / "hosts/eu0/etc/backup_config").touch()

    with pytest.raises(ConfigError, match="host us0 has had no night here; eu0 had one"):
        variables(ACCESS, tmp_path, "us0", OUTSIDE)


def test_there_is_no_way_into_a_sandbox_that_is_not_up(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no sandbox is up"):
        background.find(tmp_path)


def test_somebody_who_asks_to_be_let_in_and_is_gone_again_is_not_the_end_of_a_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as outside:
        asking = outside.submit(ask_and_go, tmp_path)
        background.serve(tmp_path, ACCESS, None)
        signal.signal(signal.SIGTERM, before)

    assert asking.result() == "let in"


def ask_and_go(place: Path) -> str:
    try:
        while not (place / ENDPOINT).exists():
            time.sleep(0.01)
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as door:
                door.connect("network")
        background.enter(place)
        return "let in"
    finally:
        (place / STOP).touch()
