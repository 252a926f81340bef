"""Files back from a machine that is not ours and has rsync alone, through a real sshd."""

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide_console.sandbox import awkward
from tests.local.bringing_back import ask, below, given_back, rot
from tests.local.own_nights import Host, differing
from tests.local.receiver_machine import MISSING
from tests.local.rsync_only import a_far_side

IS_ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def far_host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "us0", tmp_path / "unused")
    (awkward.grow if IS_ROOT else awkward.grow_plain)(host.tree / "srv")
    with a_far_side() as far:
        to = {"TARGET": far.target("/~/us0"), "KEY": str(far.key), "KNOWN_HOSTS": str(far.known_hosts)}
        host.back_up(WAIT_MINUTES="1", **to)
        yield host


def test_the_tree_of_a_machine_that_has_only_rsync_comes_back(far_host: Host, tmp_path: Path) -> None:
    listed = json.loads(ask(far_host, "list", "--json", cwd=tmp_path).stdout)
    ended = ask(far_host, "restore", str(far_host.tree / "srv"), "--into", "back", cwd=tmp_path)

    (point,) = listed["points"]
    assert point["whole"] is True
    assert point["run"].startswith("ssh/")
    assert ended.returncode == 0, ended.stderr
    assert differing(below(tmp_path / "back", "srv"), given_back(far_host.tree, "srv")) == {}


def test_what_only_its_content_tells_from_what_it_was_is_brought_back(far_host: Host, tmp_path: Path) -> None:
    (tmp_path / "back").mkdir()
    asked = ("restore", str(far_host.tree / "srv/a/file"), "--into", "back", "--yes")
    ask(far_host, *asked, cwd=tmp_path)
    rot(tmp_path / "back/srv/a/file")

    ended = ask(far_host, *asked, cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "back/srv/a/file").read_bytes() == (far_host.tree / "srv/a/file").read_bytes()


def test_a_tree_that_is_not_whole_is_restored_only_by_its_name(far_host: Host, tmp_path: Path) -> None:
    failing = tmp_path / "rsync"
    failing.write_text('#!/bin/sh\nrsync "$@"; code=$?\ncase "$*" in *--stats*) code=23;; esac\nexit $code\n')
    failing.chmod(0o755)
    target = dict(line.split("=", 1) for line in far_host.paths.config.read_text().splitlines())
    far_host.back_up(**{**target, "RSYNC": str(failing)})
    far_host.configure(**target)

    refused = ask(far_host, "restore", str(far_host.tree / "srv"), cwd=tmp_path)
    (point,) = json.loads(ask(far_host, "list", "--json", cwd=tmp_path).stdout)["points"]
    ended = ask(far_host, "restore", str(far_host.tree / "srv"), "--at", point["name"], "--into", "back", cwd=tmp_path)

    assert point["whole"] is False
    assert refused.returncode == 1
    assert f"--at {point['name']} takes it all the same" in refused.stderr
    assert ended.returncode == 0, ended.stderr
    assert f"of {point['name']}, which is not whole, are in" in ended.stderr.splitlines()[-1]


def test_why_nobody_answers_is_told_as_ssh_says_it(far_host: Host, tmp_path: Path) -> None:
    target = dict(line.split("=", 1) for line in far_host.paths.config.read_text().splitlines())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        far_host.configure(**{**target, "TARGET": re.sub(r":\d+/", f":{port}/", target["TARGET"])})

        ended = ask(far_host, "list", cwd=tmp_path)

    said = f"ebbtide: rsync with localhost: ssh: connect to host 127.0.0.1 port {port}: Connection refused\n"
    assert (ended.returncode, ended.stderr) == (75, said)
