"""A recovery machine's whole task on a real volume: restored, compared, reported to the archive, powered off."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.wire import parse_recovery_asked, parse_recovery_report, parse_restored_server, recovery_begun_key
from ebbtide_agent import manifest, volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.entry import Entry, Header, read_real
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.manifest_file import read_manifest, sha256_of
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore import progress, session
from ebbtide_agent.restore.materialise import is_allowed
from ebbtide_agent.restore.probe import probe
from ebbtide_agent.restore.recovery import parse_brief
from ebbtide_console.sandbox import awkward as trees
from tests.debian import a_server
from tests.local.receiver_machine import wait_until_free
from tests.local.test_black_holes import with_a_network_of_its_own
from tests.loops import a_loop_device

RSYNC = ["rsync", "-aHAXS", "--numeric-ids", "--modify-window=-1"]
# As in the examples of a brief.
NONCE = "00112233445566778899aabbccddeeff"
RECOVERY, RUN, HOST, VOLUME = "us0a/2026-11-24/1", "main/2026-11-23/1", "us0a", "vol-0def"
MANIFEST = f"manifests/{HOST}/{RUN}.jsonl.gz"
BRIEF = f"recoveries/{RECOVERY}/brief.json"
WITHOUT = "the image has no init, and the policy has no `start` for its host"
NOW = datetime(2026, 11, 24, 9, 5, tzinfo=UTC)

MAY_MOUNT = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
IS_ROOT = is_allowed() and MAY_MOUNT
needs_root = pytest.mark.skipif(not IS_ROOT, reason="devices, owners, trusted attributes and mounts need all of root")
pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="archive")
        yield Cloud("archive", "us-east-1")


@pytest.fixture
def paths(tmp_path: Path) -> MachinePaths:
    """A machine below a root of its own, whose power button leaves a note."""
    paths = MachinePaths(tmp_path / "machine")
    button = paths.root / "usr/local/sbin/poweroff"
    button.parent.mkdir(parents=True)
    button.write_text(f"#!/bin/sh\necho off >>{tmp_path}/power\n")
    button.chmod(0o755)
    return paths


@pytest.fixture
def attached(paths: MachinePaths, tmp_path: Path) -> Iterator[Path]:
    """The volume as a block device with an ext4; as a directory for who may not mount."""
    device = paths.device(VOLUME)
    device.parent.mkdir(parents=True)
    if not MAY_MOUNT:
        (tmp_path / "volume").mkdir()
        device.symlink_to(tmp_path / "volume")
        yield device
        return
    image = tmp_path / "volume.img"
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    with a_loop_device(image) as loop:
        device.symlink_to(loop)
        yield device
        subprocess.run(["umount", "--quiet", str(paths.volume)], check=False)


Harm = Callable[[Path], None]


def back_up(
    source: Path,
    paths: MachinePaths,
    cloud: Cloud,
    harm: Harm | None = None,
    kind: str = "fake-super",
    without: Sequence[str] = (),
) -> None:
    """The receiver's night: the store on the volume and its manifest in the archive; then what befalls the store.

    That of a host with a volume of its own differs in the kind of tree alone, which keeps everything as itself.
    """
    volume.mount(paths.device(VOLUME), paths.volume, "ext4")
    tree = paths.tree(HOST)
    tree.mkdir(parents=True)
    remote = ["-M--fake-super"] if kind == "fake-super" else []
    left_out = [f"--exclude={path}" for path in without]
    subprocess.run([*RSYNC, *remote, *left_out, f"{source}/", f"{tree}/"], check=True, timeout=300)
    out = paths.manifest(HOST)
    manifest.write(tree, kind, None, out, Header(HOST, RUN, kind))
    cloud.put_once(MANIFEST, out)
    if harm is not None:
        harm(tree)
    volume.unmount(paths.volume)
    wait_until_free(paths.device(VOLUME))


def recover(paths: MachinePaths, cloud: Cloud, **changes: Any) -> dict[str, Any]:
    brief = json.loads(Path("tests/contract/wire/brief-recovery.json").read_text())
    brief |= {"recovery": RECOVERY, "run": RUN, "manifest": MANIFEST, "volume": {"id": VOLUME}}
    brief |= {"manifest_sha256": cloud.digest(MANIFEST)} | changes
    cloud.put_once(BRIEF, json.dumps(brief).encode())
    be_the_machine(paths, cloud)
    report: dict[str, Any] = json.loads(cloud.get(f"recoveries/{RECOVERY}/{NONCE}/report.json"))
    return report


def test_its_first_word_is_said_for_this_machine_alone_where_it_is_looked_for(cloud: Cloud) -> None:
    body = Path("tests/contract/wire/brief-recovery.json").read_bytes()
    brief = parse_brief(body, attempt=2)

    session.say_that_it_has_begun(brief, cloud)

    key = recovery_begun_key(replace(parse_recovery_asked(body), attempt=2))
    assert json.loads(cloud.get(key)) == {"schema": 1, "recovery": brief.recovery, "attempt": 2}


def be_the_machine(paths: MachinePaths, cloud: Cloud) -> None:
    with session.powered_off(paths):
        session.prove(parse_brief(cloud.get_brief(BRIEF)), paths, cloud, lambda: NOW)


def found_in(cloud: Cloud, tmp_path: Path) -> list[Entry]:
    cloud.download(f"recoveries/{RECOVERY}/{NONCE}/found.jsonl.gz", tmp_path / "found")
    with open(tmp_path / "found", "rb") as file:
        return list(read_manifest(file)[1])


def is_off(tmp_path: Path) -> bool:
    return (tmp_path / "power").exists()


@needs_root
def test_a_tree_without_an_init_comes_back_identical(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)

    report = recover(paths, cloud)

    assert report["findings"] == [f"http://127.0.0.1/: not asked: {WITHOUT}"]
    assert report["verdict"] == "content only"
    assert report["boot"] == {"state": "not booted", "why": WITHOUT, "seconds": 0.0}
    assert report["probe"] is None
    assert found_in(cloud, tmp_path) == list(read_real(tmp_path / "source", lambda where, _: sha256_of(where)))
    assert report["compared"]["entries"] == len(found_in(cloud, tmp_path))
    assert not paths.volume.is_mount()
    assert is_off(tmp_path)


@pytest.mark.fault("O8")
@needs_root
def test_that_a_server_does_not_boot_is_found_also_where_there_is_nothing_to_ask_it(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    (tmp_path / "source/sbin").mkdir(parents=True)
    (tmp_path / "source/sbin/init").write_text("#!/bin/sh")
    back_up(tmp_path / "source", paths, cloud)

    report = recover(paths, cloud, probe=None)

    why = "its init is neither systemd nor sysvinit, and the policy has no `start` for its host"
    assert (report["verdict"], report["findings"]) == ("content only", [f"did not boot: {why}"])


@needs_root
@pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed")
def test_a_server_that_comes_back_starts_and_answers_is_proven(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    back_up(a_server(), paths, cloud)

    report = recover(paths, cloud)

    assert report["findings"] == []
    assert report["verdict"] == "proven"
    assert report["probe"] == {"target": "http://127.0.0.1/", "answer": "200 OK", "ok": True}
    assert list(report["timings"]) == ["mount", "materialise", "compare", "boot", "probe"]
    assert not paths.volume.is_mount()
    assert is_off(tmp_path)


@pytest.mark.fault("O8")
@needs_root
@pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed")
def test_a_server_that_comes_back_and_starts_and_whose_service_is_silent_is_not_proven(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "probe", partial(probe, patience=0))
    back_up(a_server(), paths, cloud, kind="real", without=("/etc/nginx/nginx.conf",))

    report = recover(paths, cloud, tree="real")

    assert report["boot"]["state"] == "booted"
    assert report["findings"] == [
        "http://127.0.0.1/: no answer: [Errno 111] Connection refused",
        "`nginx.service` has failed: nginx: configuration file /etc/nginx/nginx.conf test failed",
    ]
    assert report["verdict"] == "content only"
    assert is_off(tmp_path)


@needs_root
def test_a_real_tree_comes_back_identical_without_being_made_real_again(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud, kind="real")

    report = recover(paths, cloud, tree="real")

    assert report["findings"] == [f"http://127.0.0.1/: not asked: {WITHOUT}"]
    assert report["verdict"] == "content only"
    assert "materialise" not in report["timings"]
    assert found_in(cloud, tmp_path) == list(read_real(tmp_path / "source", lambda where, _: sha256_of(where)))
    assert is_off(tmp_path)


@needs_root
@pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed")
def test_a_server_without_an_init_that_answers_once_its_commands_have_run_is_proven(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    back_up(a_server(), paths, cloud, kind="real", without=("/usr/sbin/init", "/usr/lib/systemd/systemd"))

    report = recover(paths, cloud, tree="real", start=["no-such-command", "service nginx start"])

    [failed] = report["findings"]
    assert failed.startswith("`no-such-command` ended with exit code 127: ")
    assert report["verdict"] == "proven"
    assert report["probe"]["answer"] == "200 OK"
    assert list(report["timings"]) == ["mount", "compare", "boot", "probe"]
    assert is_off(tmp_path)


@needs_root
def test_harm_done_to_a_real_tree_is_named(attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path) -> None:
    trees.grow(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud, lambda tree: os.chown(tree / "old", 77, 78), kind="real")

    report = recover(paths, cloud, tree="real")

    assert report["verdict"] == "different"
    assert report["findings"][0].startswith("old: owner: expected ")


def restore(paths: MachinePaths, cloud: Cloud, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the server before it is compared, and what is reported of it then."""
    brief = json.loads(Path("tests/contract/wire/brief-restore.json").read_text())
    brief |= {"recovery": RECOVERY, "run": RUN, "manifest": MANIFEST, "volume": {"id": VOLUME}} | changes
    with session.powered_off(paths):
        session.stand(parse_brief(json.dumps(brief).encode()), paths, cloud, lambda: NOW)
    said = (json.loads(cloud.get(f"recoveries/{RECOVERY}/{NONCE}/{name}.json")) for name in ("standing", "report"))
    return next(said), next(said)


@needs_root
@with_a_network_of_its_own
def test_why_a_server_does_not_come_up_is_told_before_its_tree_is_compared(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud, flip_a_byte)

    standing, report = restore(paths, cloud)

    server = parse_restored_server(json.dumps(standing).encode())
    assert (str(server.recovery), server.boot.booted, server.since) == (RECOVERY, False, NOW)
    assert standing["boot"] == report["boot"]
    assert str(server.boot.why).startswith("it ended: ")
    assert list(standing["timings"]) == ["mount", "materialise", "boot"]
    assert list(report["timings"]) == ["mount", "materialise", "boot", "compare"]
    assert report["verdict"] == "different"
    assert report["findings"][0].startswith("old: content: expected sha256 ")
    assert report["compared"]["entries"] == len(found_in(cloud, tmp_path))
    assert is_off(tmp_path)


@needs_root
@with_a_network_of_its_own
def test_a_server_that_cannot_be_compared_has_not_failed_and_says_why(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)
    cut_short, cut = "manifests/cut-short.jsonl.gz", tmp_path / "cut"
    cloud.download(MANIFEST, cut)
    cut.write_bytes(cut.read_bytes()[:-20])
    cloud.put_once(cut_short, cut)

    _, report = restore(paths, cloud, manifest=cut_short)

    assert report["verdict"] == "unproven"
    assert report["findings"][0].startswith(
        "could not be compared: PermanentError: the comparison ended with exit code 1"
    )
    assert report["found"] is None
    assert is_off(tmp_path)


@pytest.mark.parametrize("changes", [{"run": "main/2026-11-20/1"}, {"manifest_sha256": "0" * 64}])
def test_a_server_whose_manifest_is_not_its_own_is_not_started(
    changes: dict[str, str], attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow_plain(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)

    with pytest.raises(KeyError, match="standing"):
        restore(paths, cloud, **changes)

    assert json.loads(cloud.get(f"recoveries/{RECOVERY}/{NONCE}/report.json"))["verdict"] == "failed"
    assert is_off(tmp_path)


@pytest.mark.skipif(is_allowed(), reason="root compares the real thing, not records")
def test_without_root_records_are_compared(attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path) -> None:
    trees.grow_plain(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)

    report = recover(paths, cloud)

    assert report["findings"] == []
    assert report["verdict"] == "as recorded"
    assert report["boot"]["state"] == "not booted"
    source = list(read_real(tmp_path / "source", lambda where, _: sha256_of(where)))
    assert found_in(cloud, tmp_path) == source
    assert is_off(tmp_path)


def flip_a_byte(tree: Path) -> None:
    before = (tree / "old").stat()
    (tree / "old").write_bytes(b"olD")
    os.utime(tree / "old", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.fault("O8")
def test_harm_done_to_the_store_is_named(attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path) -> None:
    (trees.grow if IS_ROOT else trees.grow_plain)(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud, flip_a_byte)

    report = recover(paths, cloud)

    assert report["verdict"] == "different"
    assert report["findings"][0].startswith("old: content: expected sha256 ")
    assert is_off(tmp_path)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        (
            {"manifest": "manifests/never.jsonl.gz"},
            "could not finish: PermanentError: manifests/never.jsonl.gz is not in the archive",
        ),
        ({"run": "main/2026-11-20/1"}, "could not finish: PermanentError"),
        ({"id": "eu0a"}, "could not finish: PermanentError"),
    ],
)
def test_what_goes_wrong_is_reported_as_failed(
    changes: dict[str, str], finding: str, attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow_plain(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)

    report = recover(paths, cloud, **changes)

    assert report["verdict"] == "failed"
    assert report["findings"][0].startswith(finding)
    assert not paths.volume.is_mount()
    assert is_off(tmp_path)


@pytest.mark.fault("O8")
def test_without_a_manifest_nothing_is_proven(
    attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path
) -> None:
    trees.grow_plain(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)

    report = recover(paths, cloud, manifest=None)

    assert report["verdict"] == "unproven"
    assert report["compared"]["entries"] == 0


def test_a_machine_that_cannot_read_its_brief_powers_off(paths: MachinePaths, cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"brief .* is not in the archive"):
        be_the_machine(paths, cloud)

    assert is_off(tmp_path)


def test_the_control_plane_reads_the_report(attached: Path, paths: MachinePaths, cloud: Cloud, tmp_path: Path) -> None:
    trees.grow_plain(tmp_path / "source")
    back_up(tmp_path / "source", paths, cloud)
    recover(paths, cloud)

    report = parse_recovery_report(cloud.get(f"recoveries/{RECOVERY}/{NONCE}/report.json"))

    assert str(report.recovery) == RECOVERY
    assert report.entries == len(found_in(cloud, tmp_path))
    assert report.finished == NOW
