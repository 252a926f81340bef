"""Which machine a gate takes for a host in a run: the first that says which it is, and no other one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.brief import Run, parse_brief
from ebbtide_agent.receiver.heard import hear

BRIEF = parse_brief((Path(__file__).parents[2] / "contract/wire/brief-receiver.json").read_bytes())
US0 = BRIEF.hosts[0]
THE_NEXT = Run("main/2026-11-24/1", "main", BRIEF.deadline, BRIEF.nonce)
NOW = datetime(2026, 11, 23, 2, 10, tzinfo=UTC)
ORIGINAL, COPY, NONE = "3f2a91c07d52e1aa", "91c07d52e1aa3f2a", ""


@pytest.fixture
def paths(tmp_path: Path) -> MachinePaths:
    paths = MachinePaths(tmp_path)
    paths.host(US0.id).mkdir(parents=True)
    return paths


def hears(paths: MachinePaths, machine: str, run: Run = BRIEF) -> bool:
    try:
        hear(paths, US0, run, machine, NOW)
    except Refused:
        return False
    return True


def test_the_first_machine_is_the_host_for_the_whole_run_and_the_next_run_asks_anew(paths: MachinePaths) -> None:
    assert [hears(paths, each) for each in (ORIGINAL, COPY, ORIGINAL)] == [True, False, True]
    assert [hears(paths, each, THE_NEXT) for each in (COPY, ORIGINAL)] == [True, False]


def test_who_is_refused_hears_of_both_machines_and_what_to_do(paths: MachinePaths) -> None:
    hear(paths, US0, BRIEF, ORIGINAL, NOW)

    with pytest.raises(Refused) as refused:
        hear(paths, US0, BRIEF, COPY, NOW)

    (said,) = str(refused.value).splitlines()
    assert f"us0a is machine {ORIGINAL} in main/2026-11-23/1, since 2026-11-23T02:10:00Z, and this is {COPY}" in said
    assert "a copy of us0" in said and "ebbtide-agent install --new-identity --host NAME" in said
    assert "has moved" in said and "ebbtide-agent install --same-host" in said


def test_an_older_agent_is_heard_until_a_machine_is_and_then_refused(paths: MachinePaths) -> None:
    assert [hears(paths, each) for each in (NONE, NONE, ORIGINAL, ORIGINAL, COPY)] == [True, True, True, True, False]

    with pytest.raises(Refused, match="does not say which it is, as an older agent or one without root"):
        hear(paths, US0, BRIEF, NONE, NOW)


@pytest.mark.parametrize("left", [b"", b"{}", b'{"schema": 1, "run": 5}'])
def test_what_was_kept_and_cannot_be_read_keeps_no_host_from_its_nights(paths: MachinePaths, left: bytes) -> None:
    paths.heard(US0.id).write_bytes(left)

    assert [hears(paths, each) for each in (ORIGINAL, COPY)] == [True, False]


def test_a_volume_that_takes_nothing_is_no_reason_to_turn_a_host_away(paths: MachinePaths) -> None:
    (paths.host(US0.id) / ".heard.json.new").mkdir()

    assert hears(paths, ORIGINAL)
    assert not paths.heard(US0.id).exists()


def test_of_many_that_say_hello_at_once_one_is_heard(paths: MachinePaths) -> None:
    machines = [f"{number:016x}" for number in range(1, 9)]
    together = threading.Barrier(len(machines))

    def comes(machine: str) -> bool:
        together.wait()
        return hears(paths, machine)

    with ThreadPoolExecutor(len(machines)) as pool:
        heard = [*pool.map(comes, machines)]

    assert sum(heard) == 1
