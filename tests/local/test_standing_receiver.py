"""What a host's key can do and what not, at receivers that stand afterwards as before: one of a kind for all of it."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused, TransientError, Unseen
from ebbtide_agent.host import link
from ebbtide_agent.host.config import load
from ebbtide_agent.host.push import Watch, in_full, push
from ebbtide_agent.host.way import way_to
from ebbtide_agent.report import parse_hello
from ebbtide_console.sandbox import awkward
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, a_report, an_aws, wait_until
from tests.local.test_push import CONFINED, KINDS, a_small_tree, each

# Where a host reports, is busy afterwards or has to be new, it is that test's own.
HOSTS = ("us0", "eu0", *(f"us{number}" for number in range(1, 8)))
HELLO = parse_hello((Path(__file__).parents[1] / "contract/wire/hello.json").read_bytes())
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, request.param, HOSTS) as receiver:
        yield receiver


@each(KINDS)
def test_what_a_user_named_like_roots_own_attributes_does_not_travel(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path)
    os.setxattr(tree / "file", "user.rsync.security.capability", awkward.capability(awkward.CAP_NET_RAW))
    os.setxattr(tree / "file", "user.own", b"mine")

    ended = receiver.back_up("us1", tree, tmp_path / "etc")

    stored = receiver.tree("us1") / "file"
    assert ended.returncode == 0, ended.stderr
    assert os.getxattr(stored, "user.own") == b"mine"
    assert [name for name in os.listxattr(stored) if "capability" in name] == []


@pytest.mark.fault("H14")
@each(CONFINED)
def test_a_place_that_is_not_there_empties_nothing_and_is_reported(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path)
    kept = receiver.tree("us2") / "kept"
    kept.write_text("of an earlier night")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/backup_include").write_text("/ect\n")

    ended = receiver.back_up("us2", tree, tmp_path / "etc")

    report = receiver.report("us2")
    assert ended.returncode == 1
    assert report and report["status"] == "failed"
    assert "/ect, which is to be backed up, is not there" in report["problems"][0]
    assert kept.exists()


@each(CONFINED)
def test_a_second_push_sends_only_what_changed(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path, size=5_000_000)
    push = ("-aHAXS", "--numeric-ids", "--stats", "--no-human-readable", f"{tree}/", "127.0.0.1::tree/")
    assert receiver.rsync("us0", *push).returncode == 0
    (tree / "new").write_text("new")

    ended = receiver.rsync("us0", *push)

    sent = next(int(line.split()[-1]) for line in ended.stdout.splitlines() if line.startswith(b"Total bytes sent"))
    assert ended.returncode == 0
    assert sent < 10_000
    assert (receiver.tree("us0") / "new").read_text() == "new"


@pytest.mark.attack("a nonce of one's own", row="X3", outcome="refused, nothing is archived")
@pytest.mark.fault("X3")
@each(CONFINED)
def test_a_report_with_another_nonce_is_refused_and_nothing_is_archived(receiver: Receiver) -> None:
    ended = receiver.ssh("us0", "report", feed=a_report(receiver, nonce="f" * 32))

    assert ended.returncode == Refused.exit_code
    assert b"nonce" in ended.stderr
    assert receiver.report("us0") is None


@pytest.mark.attack("another host's report, with its nonce", row="X3", outcome="refused")
@pytest.mark.fault("X3")
@each(CONFINED)
def test_a_host_cannot_report_for_another(receiver: Receiver) -> None:
    ended = receiver.ssh("us0", "report", feed=a_report(receiver, "eu0"))

    assert ended.returncode == Refused.exit_code
    assert receiver.report("eu0") is None


@pytest.mark.attack("complete, without a push", row="X3", outcome="sent back to push, nothing is archived")
@pytest.mark.fault("X3")
@each(CONFINED)
def test_a_host_that_claims_a_push_which_nobody_saw_is_sent_back_to_push(receiver: Receiver) -> None:
    ended = receiver.ssh("us3", "report", feed=a_report(receiver, "us3"))

    # Agents of other versions go by this number.
    assert ended.returncode == Unseen.exit_code == 79
    assert b"us3 has to push once more" in ended.stderr
    assert receiver.report("us3") is None


@pytest.mark.attack("a second report, a better one", row="X3", outcome="the first one counts")
@pytest.mark.fault("H7")
@pytest.mark.fault("X3")
@each(CONFINED)
def test_the_same_report_again_gets_the_same_answer_and_that_of_another_push_none(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.rsync("us4", "-a", f"{a_small_tree(tmp_path)}/", "127.0.0.1::tree/")

    first = receiver.ssh("us4", "report", feed=a_report(receiver, "us4"))
    second = receiver.ssh("us4", "report", feed=a_report(receiver, "us4", status="failed"))
    of_a_copy = receiver.ssh("us4", "report", feed=a_report(receiver, "us4", started="2026-11-23T02:11:00Z"))

    assert json.loads(first.stdout)["status"] == "complete"
    assert second.stdout == first.stdout
    assert json.loads(first.stdout) == receiver.report("us4")
    assert (of_a_copy.returncode, of_a_copy.stdout) == (Refused.exit_code, b"")
    assert b"us4a has reported in main/2026-11-23/1 already" in of_a_copy.stderr


@pytest.mark.fault("H7")
@each(CONFINED)
def test_a_copy_that_pushes_after_the_original_has_reported_leaves_at_once(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path)
    receiver.rsync("us5", "-a", f"{tree}/", "127.0.0.1::tree/")
    assert receiver.ssh("us5", "report", feed=a_report(receiver, "us5")).returncode == 0
    paths = receiver.configure("us5", tree, tmp_path / "etc")
    config, now = load(paths), datetime.now(UTC)
    world = link.World(lambda: now, sleep=lambda seconds: pytest.fail(f"it waits for {seconds} s"))
    watch = Watch(now + timedelta(hours=1), world, os.environ, lambda _: None)

    outcome = push(config, partial(way_to(config, paths, world).route, HELLO), iter([in_full(config)]), watch)

    assert (outcome.status, outcome.exit_code) == ("failed", Refused.exit_code)
    assert any("ebbtide-agent install --new-identity --host NAME" in problem for problem in outcome.problems)


@pytest.mark.fault("H7")
@each(CONFINED)
def test_a_second_push_at_once_is_turned_away(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path, size=20_000_000)
    slow = ["rsync", "-a", "--bwlimit=500k", "-e", " ".join(receiver.ssh_argv("us7")), f"{tree}/", "127.0.0.1::tree/"]
    lease = receiver.root / "run/ebbtide/sessions/us7a.json"
    with subprocess.Popen(slow, stderr=subprocess.DEVNULL) as first:
        wait_until(lease.exists, "the first push")

        push = receiver.rsync("us7", "-a", f"{tree}/", "127.0.0.1::tree/")
        report = receiver.ssh("us7", "report", feed=a_report(receiver, "us7"))
        neighbour = receiver.rsync("eu0", "-a", f"{tree}/file", "127.0.0.1::tree/")
        first.terminate()

    assert push.returncode != 0 and b"another session" in push.stderr
    assert report.returncode == TransientError.exit_code
    assert neighbour.returncode == 0


@pytest.mark.fault("X1")
@each(KINDS)
def test_a_backup_cannot_be_read_back_with_the_key_that_wrote_it(receiver: Receiver, tmp_path: Path) -> None:
    pushed = receiver.rsync("us0", "-a", f"{a_small_tree(tmp_path)}/", "127.0.0.1::tree/")

    ended = receiver.rsync("us0", "-a", "127.0.0.1::tree/", str(tmp_path / "back"))

    assert (pushed.returncode, ended.returncode != 0) == (0, True), pushed.stderr
    assert not (tmp_path / "back/file").exists()


@pytest.mark.fault("H2")
@each(CONFINED)
def test_a_script_that_fails_makes_the_night_partial_and_the_rest_is_pushed(receiver: Receiver, tmp_path: Path) -> None:
    scripts = tmp_path / "etc/backupscripts"
    scripts.mkdir(parents=True)
    (scripts / "10-dump").write_text("#!/bin/sh\necho disk full >&2\nexit 3\n")
    (scripts / "10-dump").chmod(0o755)

    ended = receiver.back_up("us6", a_small_tree(tmp_path), tmp_path / "etc")

    report = receiver.report("us6")
    assert ended.returncode == 3
    assert report and report["status"] == "partial" and "10-dump" in report["problems"][0]
    assert report["scripts"][0]["output"] == "disk full\n"
    assert report["receiver"]["manifest"] is None
    assert (receiver.tree("us6") / "file").exists()
