"""A host's night against a receiver on loopback: real sshd, gate and confined rsync; and what its key cannot do."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import count
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from ebbtide_agent import VERSION
from ebbtide_agent.errors import Refused, TransientError, Unseen
from ebbtide_agent.host import link, night
from ebbtide_agent.host.config import load
from ebbtide_agent.host.history import find_nights
from ebbtide_agent.host.push import Watch, in_full, push
from ebbtide_agent.host.way import way_to
from ebbtide_agent.moments import read
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import parse_hello
from ebbtide_console.sandbox import awkward
from tests.local.ports import a_free_port
from tests.local.receiver_machine import (
    MAY_MOUNT,
    MISSING,
    NONCE,
    PATIENCE_SECONDS,
    RUN,
    Aws,
    Receiver,
    a_receiver,
    an_aws,
    report_key,
    wait_until,
)

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="a user id for each host needs root")
needs_mounts = pytest.mark.skipif(
    IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"
)
HELLO = parse_hello((Path(__file__).parents[1] / "contract/wire/hello.json").read_bytes())
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
CONFINED = [
    pytest.param(confine.SEPARATE, marks=needs_root),
    pytest.param(confine.OWN, marks=needs_mounts),
]
KINDS = [*CONFINED, pytest.param(confine.MUNGED, marks=needs_mounts)]


@pytest.fixture
def aws() -> Iterator[Aws]:
    with an_aws() as aws:
        yield aws


@pytest.fixture
def receiver(aws: Aws, request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with a_receiver(aws, request.param) as receiver:
        yield receiver


def each(kinds: list[object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("receiver", kinds, indirect=True)


def a_tree(tmp_path: Path) -> Path:
    """As awkward as this user can make it."""
    tree = tmp_path / "source"
    tree.mkdir()
    (awkward.grow if IS_ROOT else awkward.grow_plain)(tree)
    return tree


def a_small_tree(tmp_path: Path, size: int = 100) -> Path:
    tree = tmp_path / "small"
    tree.mkdir(exist_ok=True)
    (tree / "file").write_bytes(os.urandom(size))
    return tree


def a_report(receiver: Receiver, host: str = "us0", **changes: object) -> bytes:
    key = receiver.hosts[host]
    times = {"started": "2026-11-23T02:10:00Z", "finished": "2026-11-23T02:12:30Z"}
    counts = {"exit_code": 0, "files": 1, "entries": 2, "bytes_total": 100, "bytes_sent": 150}
    about = {"agent": "0.1.0", "rsync": "3.5.0", "os": "Debian", "arch": "x86_64", "scripts": [], "problems": []}
    whose = {"schema": 1, "run": RUN, "host": host, "id": key.id, "nonce": key.nonce, "status": "complete"}
    return json.dumps({**whose, **times, **counts, **about, **changes}).encode()


@each(KINDS)
def test_a_night_of_two_hosts_ends_in_reports_events_and_a_released_volume(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_tree(tmp_path)

    for host in ("us0", "eu0"):
        ended = receiver.back_up(host, tree, tmp_path / f"etc-{host}", "--json")
        assert ended.returncode == 0, ended.stderr + receiver.log()
        assert json.loads(ended.stdout) == receiver.report(host)
        assert "ebbtide: complete: " in ended.stderr
    exit_code = receiver.process.wait(PATIENCE_SECONDS)

    assert exit_code == 0, receiver.log()
    report = receiver.report("us0")
    assert report and report["status"] == "complete" and report["receiver"]["exit_code"] == 0
    assert (report["agent"], report["rsync"]) == (VERSION, version_of_rsync())
    manifest = report["receiver"]["manifest"]
    assert (manifest["entries"], manifest["unhashed"]) == (report["entries"], 0)
    assert manifest["key"] == f"manifests/us0a/{RUN}/{NONCE}.jsonl.gz"
    assert receiver.aws.body(manifest["key"])[:2] == b"\x1f\x8b"
    kinds = [(event["detail-type"], event["detail"].get("host")) for event in receiver.aws.events()]
    reported = [("Ebbtide Host Report", "us0"), ("Ebbtide Host Report", "eu0")]
    assert kinds == [*reported, ("Ebbtide Receiver Released", None)]
    assert receiver.word("ready")
    released = receiver.word("released")
    assert released and released["clean"] is True
    assert released["disk"]["used"] + released["disk"]["free"] <= released["disk"]["size"]


def version_of_rsync() -> str:
    return subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


@each(KINDS)
def test_what_a_user_named_like_roots_own_attributes_does_not_travel(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path)
    os.setxattr(tree / "file", "user.rsync.security.capability", awkward.capability(awkward.CAP_NET_RAW))
    os.setxattr(tree / "file", "user.own", b"mine")

    ended = receiver.back_up("us0", tree, tmp_path / "etc")

    stored = receiver.tree("us0") / "file"
    assert ended.returncode == 0, ended.stderr
    assert os.getxattr(stored, "user.own") == b"mine"
    assert [name for name in os.listxattr(stored) if "capability" in name] == []


@each(CONFINED[not IS_ROOT :][:1])
def test_the_second_night_goes_by_the_index_as_long_as_the_volume_is_the_same(
    receiver: Receiver, tmp_path: Path
) -> None:
    tree, snapshot = a_tree(tmp_path), tmp_path / "snapshot"
    first = a_night_of_both(receiver, tree, tmp_path)
    receiver.process.wait(PATIENCE_SECONDS)
    subprocess.run(["cp", "-a", f"{receiver.store}/.", str(snapshot)], check=True)
    (tree / "new").write_text("new")

    receiver.next_night("main/2026-11-24/1")
    second = a_night_of_both(receiver, tree, tmp_path)
    receiver.process.wait(PATIENCE_SECONDS)
    subprocess.run(["rsync", "-aHAX", "--delete", f"{snapshot}/", f"{receiver.store}/"], check=True)
    receiver.next_night("main/2026-11-25/1")
    third = a_night_of_both(receiver, tree, tmp_path)

    assert "a full push: no index" in first
    assert "a full push" not in second and "to push" in second
    assert "the receiver's tree is not the one that the index describes" in third
    assert (receiver.tree("us0") / "new").read_text() == "new"
    generations = {
        report["receiver"]["generation"]
        for run in (RUN, "main/2026-11-24/1", "main/2026-11-25/1")
        if (report := receiver.aws.find(report_key("us0a", run)))
    }
    assert len(generations) == 3
    kept = find_nights(HostPaths(tmp_path / "etc-us0", tmp_path / "etc-us0/state"))
    assert {night.receiver.generation for night in kept if night.receiver} == generations


def a_night_of_both(receiver: Receiver, tree: Path, place: Path) -> str:
    """Both hosts back up the same tree; what us0's agent said."""
    said = ""
    for host in ("eu0", "us0"):
        ended = receiver.back_up(host, tree, place / f"etc-{host}")
        report = receiver.report(host)
        assert ended.returncode == 0, ended.stdout + ended.stderr + receiver.log()
        assert report and report["entries"] == report["receiver"]["manifest"]["entries"]
        said = ended.stdout
    return said


@pytest.mark.fault("H14")
@each(CONFINED)
def test_a_place_that_is_not_there_empties_nothing_and_is_reported(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path)
    kept = receiver.tree("us0") / "kept"
    kept.write_text("of an earlier night")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/backup_include").write_text("/ect\n")

    ended = receiver.back_up("us0", tree, tmp_path / "etc")

    report = receiver.report("us0")
    assert ended.returncode == 1
    assert report and report["status"] == "failed"
    assert "/ect, which is to be backed up, is not there" in report["problems"][0]
    assert kept.exists()


@each(KINDS)
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


@pytest.mark.parametrize("kind", CONFINED)
def test_the_boot_script_alone_makes_a_receiver(aws: Aws, kind: str, tmp_path: Path) -> None:
    with a_receiver(aws, kind, hosts=("us0",), from_user_data=True) as receiver:
        ended = receiver.back_up("us0", a_small_tree(tmp_path), tmp_path / "etc")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        assert (ended.returncode, exit_code) == (0, 0), receiver.log()
        assert receiver.word("released")


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
    ended = receiver.ssh("us0", "report", feed=a_report(receiver))

    # Agents of other versions go by this number.
    assert ended.returncode == Unseen.exit_code == 79
    assert b"us0 has to push once more" in ended.stderr
    assert receiver.report("us0") is None


@pytest.mark.attack("a second report, a better one", row="X3", outcome="the first one counts")
@pytest.mark.fault("H7")
@pytest.mark.fault("X3")
@each(CONFINED)
def test_the_same_report_again_gets_the_same_answer_and_that_of_another_push_none(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.rsync("us0", "-a", f"{a_small_tree(tmp_path)}/", "127.0.0.1::tree/")

    first = receiver.ssh("us0", "report", feed=a_report(receiver))
    second = receiver.ssh("us0", "report", feed=a_report(receiver, status="failed"))
    of_a_copy = receiver.ssh("us0", "report", feed=a_report(receiver, started="2026-11-23T02:11:00Z"))

    assert json.loads(first.stdout)["status"] == "complete"
    assert second.stdout == first.stdout
    assert json.loads(first.stdout) == receiver.report("us0")
    assert (of_a_copy.returncode, of_a_copy.stdout) == (Refused.exit_code, b"")
    assert b"us0a has reported in main/2026-11-23/1 already" in of_a_copy.stderr


@pytest.mark.fault("H7")
@each(CONFINED)
def test_a_copy_that_pushes_after_the_original_has_reported_leaves_at_once(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path)
    receiver.rsync("us0", "-a", f"{tree}/", "127.0.0.1::tree/")
    assert receiver.ssh("us0", "report", feed=a_report(receiver)).returncode == 0
    paths = receiver.configure("us0", tree, tmp_path / "etc")
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
    slow = ["rsync", "-a", "--bwlimit=500k", "-e", " ".join(receiver.ssh_argv("us0")), f"{tree}/", "127.0.0.1::tree/"]
    lease = receiver.root / "run/ebbtide/sessions/us0a.json"
    with subprocess.Popen(slow, stderr=subprocess.DEVNULL) as first:
        wait_until(lease.exists, "the first push")

        push = receiver.rsync("us0", "-a", f"{tree}/", "127.0.0.1::tree/")
        report = receiver.ssh("us0", "report", feed=a_report(receiver))
        neighbour = receiver.rsync("eu0", "-a", f"{tree}/file", "127.0.0.1::tree/")
        first.terminate()

    assert push.returncode != 0 and b"another session" in push.stderr
    assert report.returncode == TransientError.exit_code
    assert neighbour.returncode == 0


@pytest.mark.fault("X1")
@each(KINDS)
def test_a_backup_cannot_be_read_back_with_the_key_that_wrote_it(receiver: Receiver, tmp_path: Path) -> None:
    receiver.rsync("us0", "-a", f"{a_small_tree(tmp_path)}/", "127.0.0.1::tree/")

    ended = receiver.rsync("us0", "-a", "127.0.0.1::tree/", str(tmp_path / "back"))

    assert ended.returncode != 0
    assert not (tmp_path / "back/file").exists()


@each(CONFINED)
def test_told_to_stop_it_ends_the_sessions_and_releases(receiver: Receiver, tmp_path: Path) -> None:
    tree = a_small_tree(tmp_path, size=20_000_000)
    slow = ["rsync", "-a", "--bwlimit=500k", "-e", " ".join(receiver.ssh_argv("us0")), f"{tree}/", "127.0.0.1::tree/"]
    with subprocess.Popen(slow, stderr=subprocess.DEVNULL) as push:
        wait_until((receiver.root / "run/ebbtide/sessions/us0a.json").exists, "the push")

        receiver.process.send_signal(signal.SIGTERM)
        exit_code = receiver.process.wait(PATIENCE_SECONDS)
        push_code = push.wait(PATIENCE_SECONDS)

    assert exit_code == 0, receiver.log()
    assert push_code != 0
    assert receiver.word("released")
    status = json.loads((receiver.store / "hosts/us0a/status.json").read_bytes())
    assert status["settled"] is False


class WithoutEvents(Aws):
    """AWS, with nobody where its machines look for EventBridge, until somebody is."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "AWS_ENDPOINT_URL_EVENTBRIDGE": f"http://127.0.0.1:{self.port}"}

    @property
    @cache  # noqa: B019 - of the one test that has it
    def port(self) -> int:
        return a_free_port()

    @contextmanager
    def answering(self) -> Iterator[None]:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        server.start()
        try:
            yield
        finally:
            server.stop()


@pytest.mark.fault("N8")
@pytest.mark.parametrize("kind", CONFINED[not IS_ROOT :][:1])
def test_where_no_event_gets_through_the_archive_has_all_of_the_night(aws: Aws, kind: str, tmp_path: Path) -> None:
    with a_receiver(WithoutEvents(aws.endpoint), kind, ("us0",)) as receiver:
        ended = receiver.back_up("us0", a_small_tree(tmp_path), tmp_path / "etc")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        report, released = receiver.report("us0"), receiver.word("released")
        assert (ended.returncode, exit_code) == (0, 0), ended.stderr + receiver.log()
        assert report and report["status"] == "complete"
        assert released and released["clean"]
        assert "2 events are not sent, the archive has it all" in receiver.log()
        assert aws.events() == []


@pytest.mark.fault("N8")
@pytest.mark.parametrize("kind", CONFINED[not IS_ROOT :][:1])
def test_what_could_not_be_sent_is_sent_once_when_somebody_answers_again(aws: Aws, kind: str, tmp_path: Path) -> None:
    far, tree = WithoutEvents(aws.endpoint), a_small_tree(tmp_path)
    with a_receiver(far, kind) as receiver:
        first = receiver.back_up("us0", tree, tmp_path / "etc")
        wait_until(lambda: "trying again in 2 s" in receiver.log(), "the second attempt")
        before = aws.events()
        with far.answering():
            wait_until(aws.events, "the event")
            second = receiver.back_up("eu0", tree, tmp_path / "etc2")
            receiver.process.wait(PATIENCE_SECONDS)

        told = [(event["detail-type"], event["detail"].get("host")) for event in aws.events()]
        assert (first.returncode, second.returncode, before) == (0, 0, []), first.stderr + second.stderr
        assert told == [
            ("Ebbtide Host Report", "us0"),
            ("Ebbtide Host Report", "eu0"),
            ("Ebbtide Receiver Released", None),
        ]


@pytest.mark.fault("H1")
@pytest.mark.parametrize("kind", CONFINED[not IS_ROOT :][:1])
def test_a_host_that_is_down_is_waited_for_until_the_deadline_and_costs_nobody_else(kind: str, tmp_path: Path) -> None:
    # A machine that has a lot else to do takes longer to push.
    assert any(eu0_comes_and_us0_is_missed(kind, minutes, tmp_path) for minutes in (0.15, 1, 5))


def eu0_comes_and_us0_is_missed(kind: str, minutes: float, place: Path) -> bool:
    """How it is with a deadline that eu0 makes, and whether it made this one, with time left to let go too early."""
    with an_aws() as aws, a_receiver(aws, kind, minutes=minutes) as receiver:
        of_an_earlier_night = receiver.tree("us0") / "kept"
        of_an_earlier_night.touch()

        deadline = read(json.loads(aws.body("brief"))["deadline"])

        ended = receiver.back_up("eu0", a_small_tree(place), place / "etc")
        left = deadline - datetime.now(UTC)
        exit_code = receiver.process.wait(400)

        if ended.returncode != 0 or left < timedelta(seconds=1):
            return False
        released, reported = receiver.word("released"), receiver.report("eu0")
        assert exit_code == 0, receiver.log()
        assert "the deadline has come" in receiver.log()
        assert released and released["clean"] and read(released["at"]) >= deadline
        assert reported and reported["status"] == "complete"
        assert receiver.report("us0") is None
        assert of_an_earlier_night.exists()
        return True


@needs_mounts
def test_a_push_that_the_deadline_ends_is_on_record_as_partial(tmp_path: Path) -> None:
    # A machine that has a lot else to do takes longer to begin.
    assert any(the_deadline_ends_its_push(minutes, a_small_tree(tmp_path, 8 << 20)) for minutes in (0.15, 1, 5))


def the_deadline_ends_its_push(minutes: float, tree: Path) -> bool:
    """How it is with a deadline before which a push has begun, and whether it had before this one."""
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, minutes=minutes) as receiver:
        slow = ["rsync", "-a", "--bwlimit=100", "-e", " ".join(receiver.ssh_argv("us0"))]
        pushing = subprocess.Popen([*slow, f"{tree}/", "127.0.0.1::tree/"], stderr=subprocess.DEVNULL)
        exit_code = receiver.process.wait(400)
        pushing.wait(PATIENCE_SECONDS)

        if not any(receiver.tree("us0").iterdir()):
            return False
        report, of_who_never_came = receiver.report("us0"), receiver.report("eu0")
        assert exit_code == 0, receiver.log()
        assert report and report["status"] == "partial" and report["receiver"]["manifest"] is None
        assert report["problems"][0].startswith("the night was over before this host had reported: what arrived stays")
        assert [event["detail"]["status"] for event in aws.events()[:1]] == ["partial"]
        assert of_who_never_came is None
        return True


@pytest.mark.fault("H2")
@each(CONFINED)
def test_a_script_that_fails_makes_the_night_partial_and_the_rest_is_pushed(receiver: Receiver, tmp_path: Path) -> None:
    scripts = tmp_path / "etc/backupscripts"
    scripts.mkdir(parents=True)
    (scripts / "10-dump").write_text("#!/bin/sh\necho disk full >&2\nexit 3\n")
    (scripts / "10-dump").chmod(0o755)

    ended = receiver.back_up("us0", a_small_tree(tmp_path), tmp_path / "etc")

    report = receiver.report("us0")
    assert ended.returncode == 3
    assert report and report["status"] == "partial" and "10-dump" in report["problems"][0]
    assert report["scripts"][0]["output"] == "disk full\n"
    assert report["receiver"]["manifest"] is None
    assert (receiver.tree("us0") / "file").exists()


@pytest.mark.fault("N7")
@each(CONFINED)
def test_who_answers_with_another_key_than_the_pinned_one_is_told_nothing(receiver: Receiver, tmp_path: Path) -> None:
    pinned = tmp_path / "known_hosts"
    pinned.write_text(f"localhost {receiver.hosts['eu0'].public}\n")
    paths = receiver.configure("us0", a_small_tree(tmp_path), tmp_path / "etc", KNOWN_HOSTS=str(pinned))
    said: list[str] = []
    # Every look at its clock is a quarter of a minute after the last one.
    ticks = (datetime.now(UTC) + number * timedelta(seconds=15) for number in count())
    world = link.World(lambda: next(ticks), sleep=lambda _: None, say=said.append)

    with pytest.raises(TransientError, match="nothing was sent"):
        night.run(night.Night(paths, world, os.environ))

    assert any("nothing was sent; trying again" in line for line in said)
    assert "Accepted" not in (receiver.root / "run/ebbtide/sshd.log").read_text()
    assert [*receiver.tree("us0").iterdir()] == []
