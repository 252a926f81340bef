"""Nights of a host into a volume of its own: what is on it, what AWS is told, and that it is left alone then.

But for one test the volume is a directory in a device's place. AWS is moto; the control plane reads what is archived.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib import wire
from chalicelib.core.ids import parse_run
from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError, Refused, TransientError
from ebbtide_agent.host import night, to_volume
from ebbtide_agent.host.back import WayBack, way_back
from ebbtide_agent.host.bring import RestoreRequest, bring
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.own_report import own_run
from ebbtide_agent.host.past import Source
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import HostPaths, OwnVolumePaths, device_name
from ebbtide_console.sandbox import awkward
from tests.local.bringing_back import below
from tests.local.enclosed import a_copy_of_all_mounts
from tests.local.own_nights import Host, differing, entries
from tests.local.receiver_machine import BUCKET, MISSING, REGION, Aws, an_aws
from tests.local.test_session import wait_until_free
from tests.loops import a_loop_device, has_loops

pytestmark = pytest.mark.skipif("rsync" in MISSING, reason="rsync is not installed")


class OwnVolume(Host):
    """web1, and its volume vol-0abc."""

    archive: str = BUCKET

    @property
    def paths(self) -> HostPaths:
        return HostPaths(self.place / "etc", self.place / "state", disks=self.place / "disks")

    def attach(self, device: Path) -> None:
        name = self.paths.disks / device_name("vol-0abc")
        name.unlink(missing_ok=True)
        name.symlink_to(device)

    @property
    def on_volume(self) -> OwnVolumePaths:
        return OwnVolumePaths(self.target, "web1")

    def configure(self, **settings: str) -> None:
        target = f"volume://web1@vol-0abc/{REGION}/{self.archive}"
        super().configure(**{"HOST": "web1.example.org", "TARGET": target, "WAIT_MINUTES": "1", **settings})


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with an_aws() as aws:
        for name, value in aws.environment.items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def host(aws: Aws, tmp_path: Path) -> OwnVolume:
    host = OwnVolume(tmp_path, tmp_path / "volume")
    (host.place / "disks").mkdir()
    (host.place / "disks" / device_name("vol-0abc")).symlink_to(host.target)
    (host.tree / "file").write_text("file")
    return host


def archived(aws: Aws) -> list[str]:
    listed = aws.client("s3").list_objects_v2(Bucket=BUCKET)
    return [each["Key"] for each in listed.get("Contents", [])]


def test_a_night_is_on_the_volume_and_in_the_archive_and_the_volume_is_let_go_of(host: OwnVolume, aws: Aws) -> None:
    report = host.back_up()

    assert report.status == "complete"
    assert differing(entries(host.on_volume.tree), entries(host.tree)) == {}
    key = wire.host_report_key(parse_run(report.run))
    told = wire.parse_host_report(parse_run(report.run), aws.body(key))
    assert (told.result.status.value, told.own.volume_id, told.own.unmounted) == ("complete", "vol-0abc", True)
    assert told.result.manifest and archived(aws) == sorted([key, told.result.manifest])
    assert aws.body(told.result.manifest) == host.on_volume.manifest.read_bytes()
    assert report.receiver and report.receiver.manifest
    assert report.receiver.manifest.sha256 == sha256_of(host.on_volume.manifest)
    (event,) = aws.events()
    assert (event["source"], event["detail"]["run"]) == ("ebbtide.host.web1", report.run)
    assert not host.paths.volume.exists(), "the volume is still mounted"


def test_a_manifest_that_was_written_ahead_is_not_taken_for_this_nights(host: OwnVolume, aws: Aws) -> None:
    tonight = datetime.now(UTC) + host.ahead + timedelta(days=1)
    for second in range(120):
        run = own_run("web1", tonight + timedelta(seconds=second))
        aws.put(f"manifests/web1/{run}.jsonl.gz", b"written ahead")

    report = host.back_up()

    assert report.receiver and report.receiver.manifest
    assert aws.body(report.receiver.manifest.key) == host.on_volume.manifest.read_bytes()


@pytest.mark.parametrize("profile", [None, "backup"])
def test_who_the_host_is_may_be_told_by_a_program_that_its_aws_configuration_names(
    host: OwnVolume, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str | None
) -> None:
    given = {"Version": 1, "AccessKeyId": "AKIAOFAPROGRAM", "SecretAccessKey": "s", "SessionToken": "t"}
    program = tmp_path / "signing-helper"
    program.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '{json.dumps(given)}'\n")
    program.chmod(0o755)
    section = f"profile {profile}" if profile else "default"
    (tmp_path / "aws").write_text(f"[{section}]\ncredential_process = {program}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    # As in a program that has only begun: boto3 keeps what it has found.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)

    report = host.back_up()

    assert report.status == "complete"
    assert (tmp_path / "asked").exists()
    assert [key.split("/")[0] for key in archived(aws)] == ["host-reports", "manifests"]
    assert [event["source"] for event in aws.events()] == ["ebbtide.host.web1"]


def test_it_is_left_alone_as_long_as_was_promised_and_pushed_to_by_the_index_then(host: OwnVolume, aws: Aws) -> None:
    report = host.back_up()
    before = entries(host.target)
    (host.tree / "new").write_text("new")

    host.ahead += timedelta(hours=11) - timedelta(days=1)
    with pytest.raises(Refused, match="is left alone until"):
        host.back_up()
    assert differing(entries(host.target), before) == {}

    assert host.back_up().status == "complete"
    assert any("to push" in line for line in host.said) and "full push" not in " ".join(host.said[4:])
    assert (host.on_volume.tree / "new").exists()
    promise = wire.parse_host_report(parse_run(report.run), aws.body(wire.host_report_key(parse_run(report.run))))
    assert promise.quiet_until - report.finished.replace(microsecond=0) == timedelta(hours=12)


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_a_clock_that_was_far_ahead_has_promised_holds_no_longer_than_something_keeps_it_right(
    host: OwnVolume, aws: Aws, is_kept: bool
) -> None:
    host.ahead += timedelta(days=3000)
    host.back_up()

    host.ahead, host.clock_is_kept = timedelta(hours=1), is_kept
    with nullcontext() if is_kept else pytest.raises(Refused, match="is left alone until"):
        assert host.back_up().status == "complete"


@pytest.mark.fault("N8")
def test_what_the_archive_does_not_take_is_sent_with_the_next_night(host: OwnVolume, aws: Aws) -> None:
    aws.client("s3").delete_bucket(Bucket=BUCKET)

    with pytest.raises(PermanentError, match="NoSuchBucket"):
        host.back_up()

    assert not host.paths.volume.exists()
    aws.client("s3").create_bucket(Bucket=BUCKET)
    host.back_up()
    assert len([key for key in archived(aws) if key.startswith("host-reports/")]) == 2
    assert len(archived(aws)) == 4


@pytest.mark.fault("N8")
def test_what_could_not_be_sent_as_the_night_began_is_sent_as_it_ends(
    host: OwnVolume, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.client("s3").delete_bucket(Bucket=BUCKET)
    with pytest.raises(PermanentError, match="NoSuchBucket"):
        host.back_up()
    aws.client("s3").create_bucket(Bucket=BUCKET)
    send, asked = to_volume.send, list[Path]()

    def without_a_network_at_first(letter: Path, *others: Any) -> None:
        asked.append(letter)
        if len(asked) == 1:
            raise TransientError("the archive does not answer")
        send(letter, *others)

    monkeypatch.setattr(to_volume, "send", without_a_network_at_first)
    host.back_up()

    assert len([key for key in archived(aws) if key.startswith("host-reports/")]) == 2
    assert not list(host.paths.outbox.iterdir())


@pytest.mark.fault("N8")
def test_what_can_never_be_sent_holds_no_night_up(host: OwnVolume, aws: Aws) -> None:
    for name in ("host.web1_2026-01-01_1", "host.web1_2026-01-02_1"):
        (host.paths.outbox / name).mkdir(parents=True)
    damaged, empty = sorted(host.paths.outbox.iterdir())
    (damaged / "report.json").write_text("{")

    report = host.back_up()

    assert report.status == "complete-with-warnings"
    assert report.problems[0].startswith(f"what earlier nights have to report is still to be sent, from {damaged} on")
    assert len([key for key in archived(aws) if key.startswith("host-reports/")]) == 1
    assert sorted(host.paths.outbox.iterdir()) == [damaged, empty]
    assert len([line for line in host.said if "has still to be sent: " in line]) == 4


def test_a_night_that_is_not_complete_is_told_and_promises_little(host: OwnVolume, aws: Aws) -> None:
    failing = host.place / "rsync"
    failing.write_text('#!/bin/sh\n[ "$1" = --version ] && exec rsync --version\nrsync "$@"; exit 23\n')
    failing.chmod(0o755)

    report = host.back_up(RSYNC=str(failing))

    told = wire.parse_host_report(parse_run(report.run), aws.body(wire.host_report_key(parse_run(report.run))))
    assert (told.result.status.value, told.result.manifest) == ("partial", None)
    assert not host.on_volume.report.exists()
    assert told.quiet_until - report.finished.replace(microsecond=0) == timedelta(hours=1)


@pytest.mark.parametrize(
    ("name", "content", "because"),
    [
        ("ebbtide.json", {"schema": 1, "host": "eu0a"}, "vol-0abc belongs to host 'eu0a', this is web1"),
        ("photo", {}, r"vol-0abc holds files and no ebbtide\.json: it is not a host's"),
    ],
)
def test_a_volume_that_is_not_this_hosts_is_left_as_it_was(
    host: OwnVolume, name: str, content: dict[str, object], because: str
) -> None:
    (host.target / name).write_text(json.dumps(content))

    with pytest.raises(Refused, match=because):
        host.back_up()

    assert [path.name for path in host.target.iterdir()] == [name]
    assert not host.paths.volume.exists()


def test_a_night_that_breaks_off_does_not_leave_the_volume_mounted(
    host: OwnVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        assert host.paths.volume.is_symlink()
        raise SystemExit(143)

    monkeypatch.setattr(night, "push_if_all_is_well", break_off)

    with pytest.raises(SystemExit):
        host.back_up()

    assert not host.paths.volume.exists()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A blank one. From this size on ext4 has blocks that are large enough for the longest symbolic link."""
    with (tmp_path / "image").open("wb") as file:
        file.truncate(600 << 20)
    with a_loop_device(tmp_path / "image") as device:
        yield device


@pytest.mark.skipif(not has_loops(), reason="a file system of its own needs root, a loop device and mkfs.ext4")
def test_a_blank_volume_gets_a_file_system_that_holds_everything_and_is_unmounted(
    device: Path, host: OwnVolume
) -> None:
    seen = host.place / "seen"
    host.attach(device)
    awkward.grow(host.tree)
    seen.mkdir()

    try:
        report = host.back_up()
        assert (report.status, report.problems) == ("complete", ())
        assert not host.paths.volume.is_mount()
        # Not read-only: whoever branched off a mount namespace meanwhile still has it mounted, and as it was.
        subprocess.run(["mount", str(device), str(seen)], check=True)
        assert differing(entries(OwnVolumePaths(seen, "web1").tree), entries(host.tree)) == {}
    finally:
        for place in (seen, host.paths.volume):
            if place.is_mount():
                subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not has_loops(), reason="a file system of its own needs root, a loop device and mkfs.ext4")
@pytest.mark.parametrize("name", ["ebbtide.json", "photo"])
def test_of_a_volume_that_is_not_this_hosts_no_byte_changes_though_a_check_would_mend_it(
    host: OwnVolume, name: str
) -> None:
    image, files = host.place / "image", host.place / "files"
    (files / "hosts").mkdir(parents=True)
    (files / name).write_text('{"schema": 1, "host": "eu0a"}')
    subprocess.run(["mkfs.ext4", "-q", "-d", files, image, "32M"], check=True)
    for request in (f"set_inode_field /{name} links_count 5", "set_super_value state 2"):
        subprocess.run(["debugfs", "-w", "-R", request, image], check=True, capture_output=True)
    before = hashed_whole(image)
    with a_loop_device(image) as device:
        host.attach(device)

        with pytest.raises(Refused, match=r"vol-0abc (belongs to host 'eu0a'|holds files and no ebbtide\.json)"):
            host.back_up()

        assert not host.paths.volume.is_mount()
    assert hashed_whole(image) == before


@pytest.mark.skipif(not has_loops(), reason="a file system of its own needs root, a loop device and mkfs.ext4")
def test_a_volume_that_is_mounted_elsewhere_still_was_not_let_go(
    device: Path, host: OwnVolume, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.attach(device)
    monkeypatch.setattr(volume.let_go, "__defaults__", (1.0,))
    push = night.push_if_all_is_well

    with ExitStack() as meanwhile:

        def push_beside_another(*words: Any) -> Any:
            meanwhile.enter_context(a_copy_of_all_mounts())
            return push(*words)

        monkeypatch.setattr(night, "push_if_all_is_well", push_beside_another)
        report = host.back_up()

    told = wire.parse_host_report(parse_run(report.run), aws.body(wire.host_report_key(parse_run(report.run))))
    assert (report.status, told.own.unmounted) == ("complete", False)
    assert any("is mounted still, where it cannot be unmounted: a snapshot of it is" in line for line in host.said)
    wait_until_free(device)


@pytest.mark.skipif(not has_loops(), reason="a file system of its own needs root, a loop device and mkfs.ext4")
def test_files_come_back_from_the_volume_and_not_a_byte_of_it_changes(device: Path, host: OwnVolume) -> None:
    host.attach(device)
    awkward.grow(host.tree / "srv")
    report = host.back_up()
    wait_until_free(device)
    before = hashed_whole(device)

    outcome = brought_back(host, host.place / "back")

    wait_until_free(device)
    assert outcome == ("complete", report.run)
    assert differing(below(host.place / "back", "srv"), below(host.tree, "srv")) == {}
    assert not host.paths.volume.is_mount()
    assert hashed_whole(device) == before


def test_a_restore_and_a_night_do_not_meet_on_the_volume(host: OwnVolume) -> None:
    host.back_up()

    with locked(host.paths.lock), pytest.raises(Refused, match="under way"):
        a_way_back(host).at_hand()

    assert not host.paths.volume.exists()


def test_a_tree_of_a_push_that_did_not_come_to_its_end_is_no_restore_point(host: OwnVolume) -> None:
    host.back_up()
    host.on_volume.report.unlink()

    at_hand = a_way_back(host).at_hand()

    assert at_hand.points == ()
    assert "did not come to its end" in at_hand.notes[0]
    assert "have the operator attach a volume" in at_hand.notes[1]
    assert not host.paths.volume.exists()


def a_way_back(host: OwnVolume) -> WayBack:
    return way_back(load(host.paths), host.paths, World(lambda: datetime.now(UTC)))


def brought_back(host: OwnVolume, into: Path) -> tuple[str, str]:
    way, world = a_way_back(host), World(lambda: datetime.now(UTC))
    (point,) = way.at_hand().points
    with way.reached(point) as route:
        source = Source("rsync", route, world.clock(), world)
        return bring(source, RestoreRequest((b"srv",), into, as_root=True), lambda _: None).status, point.run


def hashed_whole(device: Path) -> str:
    with device.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
