"""A host with two keys, as while one rotates: either is that host for a night, and one that has ended is nobody."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import (
    MAY_MOUNT,
    MISSING,
    HostKey,
    Receiver,
    a_key,
    a_receiver,
    an_aws,
    wait_until,
)

IS_ROOT = os.geteuid() == 0
KIND = confine.SEPARATE if IS_ROOT else confine.OWN
# What ssh ends with when nobody lets it in.
NOT_LET_IN = 255

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"),
]


def with_key(receiver: Receiver, key: Path) -> Receiver:
    """As us0 sees it that has this key alone."""
    return replace(receiver, hosts={**receiver.hosts, "us0": HostKey("us0", "us0a", key)})


@contextmanager
def a_session(receiver: Receiver) -> Iterator[None]:
    """One of us0's that is about to report, and says nothing yet."""
    holder = receiver.root / "run/ebbtide/sessions/us0a.lock"
    with subprocess.Popen([*receiver.ssh_argv("us0"), "127.0.0.1", "report"], stdin=subprocess.PIPE) as session:
        wait_until(lambda: holder.exists() and holder.read_text(), "its session")
        yield
        session.kill()


@pytest.mark.attack("come in with a key that has ended, after it was rotated", row="X2", outcome="refused")
@pytest.mark.fault("X2")
def test_either_of_two_keys_is_the_host_for_a_night_and_once_it_has_ended_the_old_one_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("first")
    with an_aws() as aws, a_receiver(aws, KIND, hosts=("us0",), rotating=("us0",)) as receiver:
        us0 = receiver.hosts["us0"]
        assert us0.following
        by_old, by_new = with_key(receiver, us0.private), with_key(receiver, us0.following)
        by_third = with_key(receiver, a_key(tmp_path / "third"))

        pushed = by_old.rsync("us0", "-a", f"{tmp_path}/tree/", "127.0.0.1::tree/")
        landed = (receiver.tree("us0") / "file").read_text()
        (tmp_path / "tree/file").write_text("second")
        with a_session(by_old):
            at_once = by_new.rsync("us0", "-a", f"{tmp_path}/tree/", "127.0.0.1::tree/")
        third = by_third.ssh("us0", "hello")
        backed_up = by_new.back_up("us0", tmp_path / "tree", tmp_path / "etc")

        assert (pushed.returncode, landed) == (0, "first"), pushed.stderr
        assert at_once.returncode != 0 and b"another session of host us0a" in at_once.stderr
        assert (third.returncode, third.stdout) == (NOT_LET_IN, b"") and b"Permission denied" in third.stderr
        assert backed_up.returncode == 0, backed_up.stderr + receiver.log()
        assert (receiver.tree("us0") / "file").read_text() == "second"
        recorded = receiver.report("us0")
        assert recorded and (recorded["status"], recorded["id"]) == ("complete", "us0a")

        receiver.hosts = by_new.hosts
        receiver.next_night("main/2026-11-24/1")
        ended, new = by_old.ssh("us0", "hello"), receiver.ssh("us0", "hello")

        assert (ended.returncode, ended.stdout) == (NOT_LET_IN, b"") and b"Permission denied" in ended.stderr
        assert json.loads(new.stdout)["id"] == "us0a"
