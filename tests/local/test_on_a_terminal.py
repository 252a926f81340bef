"""A night where somebody looks on, and one where nobody does."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.local.own_nights import Host, agent
from tests.unit.agent.test_scan import needs_rsync

pytestmark = needs_rsync


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "large").write_bytes(os.urandom(3 << 20))
    (host.tree / "small").write_text("small")
    host.configure(BANDWIDTH="1m")
    return host


def test_on_a_terminal_a_bar_shows_files_bytes_rate_and_the_time_left(host: Host) -> None:
    ours, theirs = os.openpty()

    with subprocess.Popen(agent(host), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as running:
        os.close(theirs)
        said = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)

    assert running.returncode == 0, said
    assert re.search(
        r"\r  \[#+\.+\] +[0-9]+%  [0-9]+ files  [0-9]+ [KM]iB  [0-9.]+[kM]B/s  0:00:[0-9]{2} left", said
    ), said
    assert "ebbtide: complete: 2 files" in said


def test_where_nobody_looks_on_a_good_night_says_nothing(host: Host) -> None:
    ended = subprocess.run(agent(host), capture_output=True)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def _read(terminal: int) -> bytes:
    """Nothing once nobody has the other end any more."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
