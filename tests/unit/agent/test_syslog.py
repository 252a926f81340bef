"""The system's log is told of a night, over a real socket; where nobody listens that is no harm."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host_main import main
from ebbtide_agent.syslog import open_log, telling

ERROR, WARNING, INFO = "<27>", "<28>", "<30>"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(10)
        yield listening


def heard(listening: socket.socket, count: int) -> list[str]:
    said = [listening.recv(4096).rstrip(b"\0").decode() for _ in range(count)]
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(1)
    return [line.replace(f"ebbtide-agent[{os.getpid()}]: ", "") for line in said]


def test_a_line_is_one_datagram_whatever_is_in_it(listening: socket.socket, tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")

    log(logging.WARNING, "file \udcff has\nvanished \033[2J %s")

    (line,) = heard(listening, 1)
    assert line == f"{WARNING}file \\xff has\\nvanished \\x1b[2J %s"


def test_a_night_that_fails_is_told_with_every_reason(listening: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "backup_config").write_text("HOST=us 0\nTARGET=/backup\n")

    code = main(["run", "--etc", str(tmp_path), "--state", str(tmp_path / "state"), "--log", str(tmp_path / "log")])

    begins, *reasons = heard(listening, 3)
    assert code == ConfigError.exit_code
    assert begins == f"{INFO}backup begins"
    assert all(re.match(f"{ERROR}backup failed: .*backup_config", reason) for reason in reasons)


def test_a_night_that_is_ended_from_outside_is_told(listening: socket.socket, tmp_path: Path) -> None:
    with pytest.raises(SystemExit), telling(open_log(tmp_path / "log"), "backup"):
        raise SystemExit(143)

    assert heard(listening, 2)[1] == f"{ERROR}backup was ended: SystemExit(143)"


def test_a_dry_run_is_no_night(listening: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "backup_config").write_text(f"HOST=us0\nTARGET=receiver://b\nKEEP=7\nROOT={tmp_path}/root\n")

    main(["run", "--dry-run", "--etc", str(tmp_path), "--state", str(tmp_path), "--log", str(tmp_path / "log")])

    assert heard(listening, 0) == []


def test_where_nobody_listens_nothing_happens(tmp_path: Path) -> None:
    open_log(tmp_path / "nowhere")(logging.ERROR, "unheard")


def test_a_log_that_goes_away_ends_nothing(
    listening: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log(tmp_path / "log")
    listening.close()
    (tmp_path / "log").unlink()

    log(logging.ERROR, "unheard")

    assert capsys.readouterr().err == ""
