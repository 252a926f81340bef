"""A stolen key and bytes that no agent of ours would send: to rsync's daemon, and where a report is expected."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.lease import find_holder
from tests.attack.marks import tried
from tests.attack.scene import ATTACKER, Scene
from tests.local.receiver_machine import MAY_MOUNT, MISSING, RUN, wait_until

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() == 0 and not MAY_MOUNT, reason="a receiver's walls need mount namespaces"),
]
DAEMON = "rsync --server --daemon ."
GREETING = b"@RSYNCD: 31.0\n"
ARGUMENTS = b"tree\n--server\0-logDtpre.iLsfxCIvu\0.\0tree/\0\0"
NOISE = random.Random(2026).randbytes(1 << 16)

STREAMS = [
    tried("nothing at all to the daemon", b"", row="X1", outcome="ended"),
    tried("noise to the daemon", NOISE, row="X1", outcome="ended"),
    tried("a greeting cut short", GREETING[:-1], row="X1", outcome="ended"),
    tried("a version that there is not", b"@RSYNCD: 99999999999999999999.0\ntree\n", row="X1", outcome="ended"),
    tried("a negative version", b"@RSYNCD: -1.-1\ntree\n", row="X1", outcome="ended"),
    tried("a module's name without an end", GREETING + b"x" * (1 << 20), row="X1", outcome="ended"),
    tried("a module's name with a NUL", GREETING + b"tree\0x\n", row="X1", outcome="ended"),
    tried("ten thousand arguments", GREETING + b"tree\n" + b"x\0" * 10_000, row="X1", outcome="ended"),
    tried("an argument without an end", GREETING + b"tree\n" + b"x" * (1 << 20), row="X1", outcome="ended"),
    tried("noise where the list of files should be", GREETING + ARGUMENTS + NOISE, row="X1", outcome="ended"),
    tried("a transfer cut short", GREETING + ARGUMENTS + b"\0\0\0\0\1", row="X1", outcome="ended"),
]  # fmt: skip


@pytest.mark.fault("X1")
@pytest.mark.parametrize("stream", STREAMS)
def test_what_is_no_push_ends_it_and_leaves_no_session_behind(scene: Scene, stream: bytes) -> None:
    ended = scene.ask(DAEMON, feed=stream)

    assert ended.returncode != 0 and b"another session" not in ended.stderr
    wait_until(lambda: find_holder(MachinePaths(scene.receiver.root), f"{ATTACKER}a") is None, "the end of its session")


def a_report(scene: Scene, who: str = ATTACKER, /, **changes: Any) -> dict[str, Any]:
    key = scene.receiver.hosts[who]
    example = json.loads(Path("tests/contract/wire/report.json").read_bytes())
    # By whatever machine: of one that is named its home would keep the name, whether or not the report is taken.
    whose = {"run": RUN, "host": who, "id": key.id, "nonce": key.nonce, "receiver": None, "machine": ""}
    return {**example, **whose, **changes}


NO_REPORTS = [
    tried("no report", b"", row="X3", outcome="refused"),
    tried("noise as a report", NOISE, row="X3", outcome="refused"),
    tried("half a report", b'{"schema": 1, "run": "main', row="X3", outcome="refused"),
    tried("more than a MiB of report", b" " * ((1 << 20) + 1), row="X4", outcome="refused"),
    tried("a hundred thousand lists in each other", b"[" * 100_000, row="X4", outcome="refused"),
    tried("objects in each other, closed", b'{"a":' * 60_000 + b"1" + b"}" * 60_000, row="X4", outcome="refused"),
    tried("a number of a hundred thousand digits", b'{"schema": ' + b"1" * 100_000 + b"}", row="X4", outcome="refused"),
]
STRANGE = [
    tried("a count beyond every reader's numbers", {"files": 10**100}, row="X3", outcome="refused"),
    tried("a negative count", {"bytes_sent": -1}, row="X3", outcome="refused"),
    tried("a count that is no number", {"entries": float("nan")}, row="X3", outcome="refused"),
    tried("a time without a year in UTC", {"started": "0001-01-01T00:00:00+23:59"}, row="X3", outcome="refused"),
    tried("a time that is none", {"finished": "\u0662\u0660\u0662\u0666"}, row="X3", outcome="refused"),
    tried("seconds without an end", {"scripts": [
        {"name": "x", "exit_code": 0, "seconds": float("inf"), "output": ""}]}, row="X3", outcome="refused"),
    tried("seconds of a thousand digits", {"scripts": [
        {"name": "x", "exit_code": 0, "seconds": 10**1000, "output": ""}]}, row="X3", outcome="refused"),
    tried("another's nonce", {"nonce": f"{'eu0a':0<32}"}, row="X3", outcome="refused"),
    tried("no nonce", {"nonce": ""}, row="X3", outcome="refused"),
    tried("another host's id", {"id": "eu0a"}, row="X3", outcome="refused"),
    tried("another host's name", {"host": "eu0"}, row="X3", outcome="refused"),
    tried("another run's report again", {"run": "main/2026-11-22/1"}, row="X3", outcome="refused"),
    tried("a path as a run", {"run": "../../policies"}, row="X3", outcome="refused"),
    tried("halves of characters in a name", {"host": "\ud800us0"}, row="X3", outcome="refused"),
    tried("a status that there is not", {"status": "proven"}, row="X3", outcome="refused"),
    tried("a machine that is a path", {"machine": "../../status.json"}, row="X3", outcome="refused"),
]  # fmt: skip


def check_refused(scene: Scene, body: bytes) -> None:
    ended = scene.ask("report", feed=body)

    assert ended.returncode in (1, 77)
    assert ended.stdout == b""
    assert ended.stderr.startswith(b"ebbtide: ") and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert scene.receiver.report(ATTACKER) is None


@pytest.mark.fault("X3")
@pytest.mark.fault("X4")
@pytest.mark.parametrize("body", NO_REPORTS)
def test_what_is_no_report_is_refused_in_one_line(scene: Scene, body: bytes) -> None:
    check_refused(scene, body)


@pytest.mark.fault("X3")
@pytest.mark.parametrize("changes", STRANGE)
def test_what_a_report_must_not_say_is_refused_in_one_line(scene: Scene, changes: dict[str, Any]) -> None:
    check_refused(scene, json.dumps(a_report(scene, **changes)).encode())


@pytest.mark.attack("the same field twice, the second time as another host", row="X3", outcome="refused")
@pytest.mark.fault("X3")
def test_of_a_field_that_is_there_twice_the_one_that_counts_is_checked(scene: Scene) -> None:
    text = json.dumps(a_report(scene))

    check_refused(scene, text.replace('"id": "us0a"', '"id": "us0a", "id": "eu0a"').encode())


FORGED = {
    "received": "2026-11-23T02:12:30Z", "exit_code": 0, "seconds": 1.0, "entries": 5, "bytes": 5, "generation": 5,
    "tree": "real", "manifest": {"key": "manifests/eu0a/x", "sha256": "0" * 64, "entries": 5, "unhashed": 0},
}  # fmt: skip


@pytest.mark.attack("a report that brings the receiver's part along", row="X3", outcome="what was seen counts")
@pytest.mark.fault("X3")
def test_a_host_cannot_say_what_the_receiver_saw(scene: Scene) -> None:
    body = json.dumps(a_report(scene, "us1", status="partial", receiver=FORGED)).encode()

    ended = scene.report("us1", body)

    report = scene.receiver.report("us1")
    assert ended.returncode == 0
    assert report and report["status"] == "failed" and "the receiver saw no push" in report["problems"]
    assert (report["receiver"]["manifest"], report["receiver"]["entries"]) == (None, 0)


@pytest.mark.attack("move the cursor of whoever reads a report, or write lines of its own", row="X4", outcome="escaped")
@pytest.mark.fault("X4")
def test_what_a_host_says_is_one_line_that_moves_nobodys_cursor(scene: Scene) -> None:
    said = ["\x1b[2J\x1b]0;all is well\x07", "x\nebbtide: complete\r\n", "\u202etxt.exe", "\ud800"]
    body = json.dumps(a_report(scene, "us2", status="failed", problems=said)).encode()

    ended = scene.report("us2", body)

    report = scene.receiver.report("us2")
    assert ended.returncode == 0
    assert report and all(problem.isprintable() for problem in report["problems"])
    assert "\x1b" not in scene.receiver.log()


@pytest.mark.attack("forty thousand problems in a report", row="X4", outcome="fifty are kept")
@pytest.mark.fault("X4")
def test_of_a_flood_of_problems_fifty_are_kept(scene: Scene) -> None:
    body = json.dumps(a_report(scene, "us3", status="failed", problems=["x" * 10] * 40_000)).encode()

    ended = scene.report("us3", body)

    report = scene.receiver.report("us3")
    assert ended.returncode == 0
    assert report and len(report["problems"]) == 50


STATS = [("us4", "not a stat"), ("us5", "7777777777777777777777 0,0 0:0"), ("us6", "100644 0,0 0:99999999999999999999")]


@pytest.mark.attack(
    "a tree that no rsync has left, for the receiver to read as root", row="X4", outcome="no restore point"
)
@pytest.mark.fault("X4")
@pytest.mark.parametrize(("host", "value"), STATS)
def test_a_tree_that_cannot_be_read_back_is_no_restore_point_and_its_report_says_so(
    scene: Scene, host: str, value: str
) -> None:
    tree = scene.receiver.tree(host)
    scene.receiver.rsync(host, "-a", f"{scene.place}/source/", "127.0.0.1::tree/")
    os.setxattr(tree / "secret", "user.rsync.%stat", value.encode())

    ended = scene.report(host, json.dumps(a_report(scene, host)).encode())

    report = scene.receiver.report(host)
    assert ended.returncode == 0, ended.stderr
    assert report and (report["status"], report["receiver"]["manifest"]) == ("partial", None)
    assert report["problems"][1].startswith("secret cannot be read back: not a %stat of rsync"), report["problems"]


def links_to_the_secret(tree: Path, scene: Scene) -> None:
    (tree / "link").symlink_to(scene.receiver.tree("eu0") / "secret")
    (tree / "directory").symlink_to(scene.receiver.tree("eu0"))
    os.mkfifo(tree / "pipe")


@pytest.mark.attack(
    "real symlinks and pipes in the tree, for the receiver to follow as root", row="X4", outcome="not followed"
)
@pytest.mark.fault("X4")
def test_the_receiver_follows_nothing_that_lies_in_a_tree(scene: Scene) -> None:
    tree = scene.receiver.tree("us7")
    scene.receiver.rsync("us7", "-a", f"{scene.place}/source/", "127.0.0.1::tree/")
    links_to_the_secret(tree, scene)

    ended = scene.report("us7", json.dumps(a_report(scene, "us7")).encode())

    report = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert report["receiver"]["manifest"]["entries"] == report["receiver"]["entries"] == 5
