"""The machine that the agent was installed on, and every other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.host import night
from ebbtide_agent.host.identity import (
    Installed,
    check,
    differs,
    encode_installed,
    find_closed,
    find_installed,
    find_instance,
    machine_of,
    marks_of,
)
from ebbtide_agent.host.link import World
from ebbtide_agent.paths import HostPaths

NOBODY = 65534


def a_machine(place: Path, machine_id: str = "0" * 32, hardware: str | None = "4c4c4544") -> HostPaths:
    """A machine whose agent's files lie at `place`; without `hardware`, one that does not tell."""
    (place / "machine-id").write_text(f"{machine_id}\n")
    (place / "product_uuid").unlink(missing_ok=True)
    if hardware is not None:
        (place / "product_uuid").write_text(f"{hardware}\n")
    (place / "state").mkdir(exist_ok=True)
    return HostPaths(place, place / "state", place / "machine-id", place / "product_uuid")


@contextmanager
def without_root() -> Iterator[None]:
    """Somebody who may not read what is closed to others."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def install(paths: HostPaths) -> None:
    paths.installed.write_bytes(encode_installed(Installed(marks_of(paths), "02:00-06:00")))


def test_the_machine_it_was_installed_on_is_let_on(tmp_path: Path) -> None:
    paths = a_machine(tmp_path)
    install(paths)

    check(paths, "us0")


@pytest.mark.fault("H7")
@pytest.mark.fault("O6")
@pytest.mark.parametrize(("machine_id", "hardware"), [("1" * 32, "4c4c4544"), ("0" * 32, "4c4c4545")])
def test_a_copy_is_refused_with_the_command_that_enrols_it(tmp_path: Path, machine_id: str, hardware: str) -> None:
    install(a_machine(tmp_path))
    copy = a_machine(tmp_path, machine_id, hardware)
    for place in ("tree", "backup"):
        (tmp_path / place).mkdir()
    (tmp_path / "tree/file").touch()
    copy.config.write_text(f"HOST=us0\nTARGET={tmp_path}/backup\nKEEP=7\nROOT={tmp_path}/tree\n")
    (copy.scripts).mkdir()
    (copy.scripts / "01-dump").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (copy.scripts / "01-dump").chmod(0o755)

    with pytest.raises(Refused) as refused:
        night.run(night.Night(copy, World(lambda: datetime.now(UTC)), {}))

    assert "enrolled as us0" in str(refused.value)
    assert "ebbtide-agent install --new-identity --host NAME" in str(refused.value)
    assert "ebbtide-agent install --same-host" in str(refused.value)
    assert not (tmp_path / "ran").exists() and not copy.running.exists()
    assert list((tmp_path / "backup").iterdir()) == []


def test_what_cannot_be_read_now_or_then_says_nothing(tmp_path: Path) -> None:
    install(a_machine(tmp_path, hardware=None))

    check(a_machine(tmp_path, hardware="4c4c4545"), "us0")
    install(a_machine(tmp_path, hardware="4c4c4545"))
    check(a_machine(tmp_path, hardware=None), "us0")


def test_a_user_who_may_not_read_a_mark_names_no_machine_instead_of_another(tmp_path: Path) -> None:
    paths = replace(a_machine(tmp_path), machine_id=Path("/proc/version"))
    known = machine_of(paths)
    paths.hardware_id.chmod(0)

    with without_root():
        named, seen, closed = machine_of(paths), set(marks_of(paths)), find_closed(paths)

    assert known and named == ""
    assert (seen, closed) == ({"machine-id"}, paths.hardware_id)
    paths.hardware_id.unlink()
    assert machine_of(paths) not in ("", known)


def test_a_machine_that_is_not_set_up_yet_has_no_id(tmp_path: Path) -> None:
    assert marks_of(a_machine(tmp_path, "uninitialized", None)) == {}
    assert marks_of(a_machine(tmp_path, "", None)) == {}


def test_where_install_never_was_nothing_is_compared(tmp_path: Path) -> None:
    paths = a_machine(tmp_path)

    check(paths, "us0")

    assert find_installed(paths) is None


def test_the_id_itself_is_written_nowhere(tmp_path: Path) -> None:
    paths = a_machine(tmp_path, "9b9b9b9b" * 4)

    install(paths)

    assert "9b9b9b9b" not in paths.installed.read_text()


def test_a_record_that_is_none_is_told_and_not_passed_over(tmp_path: Path) -> None:
    paths = a_machine(tmp_path)
    paths.installed.write_text("{}")

    with pytest.raises(PermanentError, match=r"installed\.json"):
        check(paths, "us0")


def test_only_marks_that_both_have_can_differ() -> None:
    assert differs({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == ("b",)


@pytest.mark.parametrize(
    ("tag", "instance"), [("i-0123456789abcdef0\n", "i-0123456789abcdef0"), ("Default string\n", None), (None, None)]
)
def test_an_instance_of_ec2_is_known_by_its_board(tmp_path: Path, tag: str | None, instance: str | None) -> None:
    if tag is not None:
        (tmp_path / "board_asset_tag").write_text(tag)

    assert find_instance(HostPaths(asset_tag=tmp_path / "board_asset_tag")) == instance
