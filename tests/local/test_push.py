"""A host's night against a receiver on loopback: real sshd, gate and confined rsync; and what its key cannot do."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from ebbtide_agent import VERSION
from ebbtide_agent.errors import TransientError
from ebbtide_agent.host import link, night
from ebbtide_agent.host.history import find_nights
from ebbtide_agent.manifest_file import read_manifest
from ebbtide_agent.moments import read
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.walk import LONGEST_PATH
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
from tests.patience import for_make_long

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="a user id for each host needs root")
needs_mounts = pytest.mark.skipif(
    IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
CONFINED = [
    pytest.param(confine.SEPARATE, marks=needs_root),
    pytest.param(confine.OWN, marks=(needs_mounts, *((for_make_long,) if IS_ROOT else ()))),
]
KINDS = [
    pytest.param(confine.SEPARATE, marks=needs_root),
    pytest.param(confine.OWN, marks=needs_mounts),
    pytest.param(confine.MUNGED, marks=needs_mounts),
]


@pytest.fixture
def aws() -> Iterator[Aws]:
    with an_aws() as aws:
        yield aws


@pytest.fixture
def hosts() -> tuple[str, ...]:
    return "us0", "eu0"


@pytest.fixture
def receiver(aws: Aws, hosts: tuple[str, ...], request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with a_receiver(aws, request.param, hosts) as receiver:
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


@each(KINDS)
def test_a_night_of_two_hosts_ends_in_reports_events_and_a_released_volume(receiver: Receiver, tmp_path: Path) -> None:
    trees = {"us0": a_tree(tmp_path), "eu0": a_small_tree(tmp_path)}

    for host, tree in trees.items():
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


@pytest.mark.fault("H13")
@each(CONFINED)
def test_what_lies_as_deep_as_a_server_may_have_it_is_proven_like_anything_else(
    receiver: Receiver, short: Path, tmp_path: Path
) -> None:
    deep = "/".join(["d" * 199] * 20)
    a_name = "n" * (LONGEST_PATH - len(f"{short}/{deep}/"))
    with chdir(short):
        Path(deep).mkdir(parents=True)
        Path(deep, a_name).write_text("deep down")
        os.link(f"{deep}/{a_name}", "not as deep")
        Path(deep, "link").symlink_to("/etc/passwd")

    ended = receiver.back_up("us0", short, tmp_path / "etc")

    report = receiver.report("us0")
    assert report and report["status"] == "complete", ended.stderr
    _, entries = read_manifest(BytesIO(receiver.aws.body(report["receiver"]["manifest"]["key"])))
    found = {os.fsdecode(entry.path): entry for entry in entries}
    assert found[f"{deep}/{a_name}"].sha256 == sha256(b"deep down").hexdigest()
    assert found[f"{deep}/{a_name}"].group == found["not as deep"].group is not None
    assert found[f"{deep}/link"].link == b"/etc/passwd"


def version_of_rsync() -> str:
    return subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


@each(CONFINED[not IS_ROOT :][:1])
@pytest.mark.parametrize("hosts", [("us0",)], ids=["alone"])
def test_the_second_night_goes_by_the_index_as_long_as_the_volume_is_the_same(
    receiver: Receiver, tmp_path: Path
) -> None:
    tree, snapshot = a_small_tree(tmp_path), tmp_path / "snapshot"
    first = a_night_of_us0(receiver, tree, tmp_path)
    receiver.process.wait(PATIENCE_SECONDS)
    subprocess.run(["cp", "-a", f"{receiver.store}/.", str(snapshot)], check=True)
    (tree / "new").write_text("new")

    receiver.next_night("main/2026-11-24/1")
    second = a_night_of_us0(receiver, tree, tmp_path)
    receiver.process.wait(PATIENCE_SECONDS)
    subprocess.run(["rsync", "-aHAX", "--delete", f"{snapshot}/", f"{receiver.store}/"], check=True)
    receiver.next_night("main/2026-11-25/1")
    third = a_night_of_us0(receiver, tree, tmp_path)

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


def a_night_of_us0(receiver: Receiver, tree: Path, place: Path) -> str:
    """What its agent said."""
    ended = receiver.back_up("us0", tree, place / "etc-us0")
    report = receiver.report("us0")
    assert ended.returncode == 0, ended.stdout + ended.stderr + receiver.log()
    assert report and report["entries"] == report["receiver"]["manifest"]["entries"]
    return ended.stdout


@pytest.mark.parametrize("kind", CONFINED)
def test_the_boot_script_alone_makes_a_receiver(aws: Aws, kind: str, tmp_path: Path) -> None:
    with a_receiver(aws, kind, hosts=("us0",), from_user_data=True) as receiver:
        ended = receiver.back_up("us0", a_small_tree(tmp_path), tmp_path / "etc")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        assert (ended.returncode, exit_code) == (0, 0), receiver.log()
        assert receiver.word("released")


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
            receiver.bring("eu0", tree)
            receiver.process.wait(PATIENCE_SECONDS)

        told = [(event["detail-type"], event["detail"].get("host")) for event in aws.events()]
        assert (first.returncode, before) == (0, []), first.stderr
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


@pytest.mark.fault("N7")
@each(CONFINED)
def test_who_answers_with_another_key_than_the_pinned_one_is_told_nothing(receiver: Receiver, tmp_path: Path) -> None:
    pinned = tmp_path / "known_hosts"
    pinned.write_text(f"localhost {receiver.hosts['eu0'].taken[0]}\n")
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
