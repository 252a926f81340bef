"""A receiver's control groups, on files that look like the kernel's own, which tests/attack/test_memory.py has."""

import os
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent import procs
from ebbtide_agent.commands import gate, peer_gate
from ebbtide_agent.commands.here import Here
from ebbtide_agent.errors import Refused
from ebbtide_agent.receiver import cgroups

SERVICE = "system.slice/ebbtide.service"
MIB = 1 << 20


def a_machine(
    root: Path, controllers: str = "memory pids", others: str = "", limit: str = "max", place: str = SERVICE
) -> Path:
    """One of 2 GiB; returns its service's group, in which we are, or below."""
    service = root / "sys/fs/cgroup" / SERVICE
    service.mkdir(parents=True)
    (service / "cgroup.controllers").write_text(f"{controllers}\n")
    (service / "cgroup.procs").write_text(f"{os.getpid()}\n{others}")
    (service / "cgroup.subtree_control").write_text("")
    (service / "memory.max").write_text(f"{limit}\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"4:memory:/elsewhere\n0::/{place}\n")
    (root / "proc/meminfo").write_text("MemFree: 1 kB\nMemTotal:        2097152 kB\n")
    return service


def at_the_door(root: Path, divided: str = "memory", limit: str = "max") -> Path:
    service = a_machine(root, limit=limit, place=f"{SERVICE}/{cgroups.KEEPERS}")
    (service / "cgroup.subtree_control").write_text(f"{divided}\n")
    (service / "host-us0a").mkdir()
    (service / "host-us0a/memory.swap.max").write_text("max\n")
    return service


def test_whoever_divides_the_memory_moves_out_of_the_group_that_is_divided(tmp_path: Path) -> None:
    service = a_machine(tmp_path)

    said = cgroups.divide(tmp_path)

    share = "a host's sessions have 1024 MiB of memory; if they need more, they alone end"
    assert said == f"{share}; nothing keeps them from all of the processors"
    assert (service / cgroups.KEEPERS / "cgroup.procs").read_text() == str(os.getpid())
    assert (service / "cgroup.subtree_control").read_text() == "+memory"


def test_where_processors_are_handed_over_they_are_divided_as_well_and_who_lets_hosts_in_has_more(
    tmp_path: Path,
) -> None:
    service = a_machine(tmp_path, controllers="cpu memory pids")

    said = cgroups.divide(tmp_path)

    assert said == "a host's sessions have 1024 MiB of memory; if they need more, they alone end"
    assert (service / "cgroup.subtree_control").read_text() == "+memory +cpu"
    assert int((service / cgroups.KEEPERS / "cpu.weight").read_text()) == cgroups.KEEPERS_WEIGHT > 100


def test_a_gate_is_one_of_its_hosts_sessions_which_have_half_of_the_memory_and_end_together(tmp_path: Path) -> None:
    service = at_the_door(tmp_path)

    cgroups.enter("us0a", tmp_path)

    written = {path.name: path.read_text() for path in (service / "host-us0a").iterdir()}
    half = str(1024 * MIB)
    assert written == {
        "memory.max": half,
        "memory.oom.group": "1",
        "memory.swap.max": "0",
        "cgroup.procs": str(os.getpid()),
    }


def test_of_a_service_that_may_have_less_it_is_half_of_that(tmp_path: Path) -> None:
    service = at_the_door(tmp_path, limit=str(500 * MIB))

    cgroups.enter("eu0a", tmp_path)

    assert (service / "host-eu0a/memory.max").read_text() == str(250 * MIB)
    assert not (service / "host-eu0a/memory.swap.max").exists()


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ({"controllers": "cpu pids"}, "there is no memory controller of cgroup v2 in "),
        ({"others": "77\n"}, "which a service with Delegate=memory would have for itself"),
        ({"place": "gone"}, "there is no memory controller of cgroup v2 in "),
    ],
)
def test_where_there_is_nothing_to_divide_that_is_said_and_nothing_changed(
    tmp_path: Path, machine: dict[str, str], why: str
) -> None:
    service = a_machine(tmp_path, **machine)

    said = cgroups.divide(tmp_path)

    assert said.startswith("nothing keeps a host's sessions from filling this machine's memory: ")
    assert why in said
    assert not (service / cgroups.KEEPERS).exists() and (service / "cgroup.subtree_control").read_text() == ""


def test_a_machine_without_control_groups_says_so(tmp_path: Path) -> None:
    assert f"no memory controller of cgroup v2 in {tmp_path}/sys/fs/cgroup" in cgroups.divide(tmp_path)


def test_what_the_kernel_refuses_is_said(tmp_path: Path) -> None:
    (a_machine(tmp_path) / cgroups.KEEPERS).write_text("in the way")

    assert "from filling this machine's memory: [Errno 17] File exists" in cgroups.divide(tmp_path)


EVENTS = "low 0\nhigh 0\nmax 77\noom 2\noom_kill 3\noom_group_kill 1\n"


@pytest.mark.parametrize(("events", "kills"), [(EVENTS, 3), ("low 0\noom 0\noom_kill 0\n", 0), ("low 0\n", 0), ("", 0)])
def test_the_kernel_says_how_many_processes_it_has_ended_for_want_of_memory(events: str, kills: int) -> None:
    assert cgroups.kills_among(events) == kills


@pytest.mark.parametrize("who", [cgroups.KEEPERS, "host-eu0a"])
def test_of_a_hosts_sessions_a_gate_may_ask_and_who_has_divided_the_memory(tmp_path: Path, who: str) -> None:
    service = at_the_door(tmp_path)
    (tmp_path / "proc/self/cgroup").write_text(f"0::/{SERVICE}/{who}\n")
    (service / "host-us0a/memory.events").write_text(EVENTS)

    assert (cgroups.kills("us0a", tmp_path), cgroups.kills("eu0a", tmp_path)) == (3, 0)


def test_where_no_memory_is_divided_nobody_was_ended_for_it(tmp_path: Path) -> None:
    assert cgroups.kills("us0a", tmp_path) == 0


@pytest.mark.parametrize("elsewhere", [SERVICE, "user.slice/session-1.scope"])
def test_where_nobody_has_divided_it_a_gate_stays_where_it_is(tmp_path: Path, elsewhere: str) -> None:
    service = at_the_door(tmp_path)
    (tmp_path / "proc/self/cgroup").write_text(f"0::/{elsewhere}\n")

    cgroups.enter("eu0a", tmp_path)

    assert not (service / "host-eu0a").exists()


def test_where_dividing_it_had_failed_a_gate_stays_where_it_is(tmp_path: Path) -> None:
    service = at_the_door(tmp_path, divided="")

    cgroups.enter("eu0a", tmp_path)

    assert not (service / "host-eu0a").exists()


@pytest.mark.parametrize("answer", [gate.answer, peer_gate.answer])
def test_every_gate_is_one_of_its_hosts_sessions_before_it_hears_a_word(
    answer: Callable[[Namespace, Here], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[str] = []
    monkeypatch.setattr(cgroups, "enter", entered.append)
    monkeypatch.setattr(procs, "stop_on", lambda *_: None)

    with pytest.raises(Refused, match="asked for a shell"):
        answer(Namespace(host="us0a"), Here({}, lambda: datetime.now(UTC)))

    assert entered == ["us0a"]
