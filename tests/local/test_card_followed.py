"""The recovery card, followed to the letter: its AWS commands in a clean shell, the rest on a volume like a night's."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import TreeKind
from ebbtide_agent.entry import Entry, Header, read_real
from ebbtide_agent.manifest import write as write_manifest
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore.boot_image import MASKED
from ebbtide_agent.restore.compare import compare
from ebbtide_console import session
from ebbtide_console.cli.main import main
from ebbtide_console.past.card import Facts, Region, Server, write_card
from ebbtide_console.sandbox import awkward
from ebbtide_console.sandbox.server import Sandbox
from tests.builders import A_POLICY_TEXT, a_moment, a_run_id
from tests.local.aws_cli import the_aws_cli
from tests.local.receiver_machine import wait_until_free
from tests.local.sandbox_parts import a_sandbox, client
from tests.loops import a_loop_device

ACCOUNT, RUN = "123456789012", a_run_id()
A_KEY = f"manifests/us0a/{RUN}.jsonl.gz"


def commands(card: str, section: int) -> str:
    """What is indented by four in a section, as it stands there."""
    _, _, rest = card.partition(f"\n{section}. ")
    text, _, _ = rest.partition(f"\n{section + 1}. ")
    return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    ")) + "\n"


def chosen(card: str, host: str) -> str:
    """The first region's line and the server's."""
    lines = commands(card, 1).splitlines()
    return "\n".join((lines[0], next(line for line in lines if f"  # {host} " in line))) + "\n"


def in_a_clean_shell(script: str, place: Path, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    path = f"{place / 'cli'}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=place, env={"PATH": path, "HOME": str(place), **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def a_night(sandbox: Sandbox) -> str:
    """A snapshot as a run leaves it, and a report and a manifest in the archive; the snapshot's id."""
    ec2, s3 = client("ec2", sandbox.endpoint), client("s3", sandbox.endpoint)
    bucket = session.ARCHIVE.format(account=ACCOUNT, region="eu-west-1")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    report = {"schema": 1, "run": str(RUN), "id": "us0a", "arch": "x86_64", "receiver": {"manifest": None}}
    for key, body in (
        ("policies/000001.toml", A_POLICY_TEXT.encode()),
        (wire.report_key(RUN, "us0a"), json.dumps(report).encode()),
        (A_KEY, subprocess.run(["gzip"], input=b'{"v":1,"p":"etc/fstab","t":"f"}\n', stdout=-1, check=True).stdout),
    ):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=80)["VolumeId"]
    tagged = tags.snapshot_tags(RUN, ["eu0a", "us0a"], TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)
    listed = [{"Key": key, "Value": value} for key, value in tagged.items()]
    taken = ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": listed}])
    assert sandbox.quiet()
    return str(taken["SnapshotId"])


def test_its_aws_commands_bring_up_a_machine_with_the_newest_point_and_take_all_of_it_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("awscli", reason="the AWS CLI of requirements-dev.txt is not installed")
    with a_sandbox(tmp_path / "state") as sandbox, the_aws_cli(tmp_path / "cli"):
        access = {
            "AWS_ENDPOINT_URL": sandbox.endpoint,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
        }
        for name, value in {**access, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
            monkeypatch.setenv(name, value)
        snapshot = a_night(sandbox)
        ec2 = client("ec2", sandbox.endpoint)
        assert main(["card", "--to", str(tmp_path / "card.txt")]) == 0
        card = (tmp_path / "card.txt").read_text()

        up = commands(card, 3)
        up = "".join(line for line in up.splitlines(keepends=True) if not line.startswith("ssh "))
        brought = in_a_clean_shell(f"{chosen(card, 'us0')}{commands(card, 2)}{up}set >variables\n", tmp_path, access)
        [machine] = the_machines(ec2)
        [volume] = ec2.describe_volumes(Filters=[{"Name": "snapshot-id", "Values": [snapshot]}])["Volumes"]
        held = the_tags(ec2, snapshot)
        taken = in_a_clean_shell(f"set -a\n. ./variables\n{commands(card, 7)}{commands(card, 6)}", tmp_path, access)

        assert brought.returncode == 0, brought.stdout + brought.stderr
        assert f"{snapshot}\t" in brought.stdout.splitlines()[0]
        assert brought.stdout.splitlines()[-1] == f"ID=us0a VOLUME={volume['VolumeId']} TREE=fake-super"
        assert (volume["Attachments"][0]["InstanceId"], machine["InstanceType"]) == (
            machine["InstanceId"],
            "t3a.medium",
        )
        assert held["ebbtide:hold"] == "recovery by hand"
        assert taken.returncode == 0, taken.stdout + taken.stderr
        assert '"p":"etc/fstab"' in taken.stdout
        assert the_machines(ec2) == []
        assert volume["VolumeId"] not in [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]]
        assert "ebbtide-card" not in [each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]]
        assert ec2.describe_key_pairs()["KeyPairs"] == []
        assert "ebbtide:hold" not in the_tags(ec2, snapshot)


def the_machines(ec2: Any) -> list[Any]:
    all_of_them = [each for found in ec2.describe_instances()["Reservations"] for each in found["Instances"]]
    return [machine for machine in all_of_them if machine["State"]["Name"] != "terminated"]


def the_tags(ec2: Any, snapshot: str) -> dict[str, str]:
    [found] = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


# -- on the machine ---------------------------------------------------------------------------------------------------

CARD = write_card(
    Facts(
        ACCOUNT,
        a_moment(),
        (Region("eu-west-1", "archive", (Server("us0", "us0a", a_moment(), "snap-1", 8, "amd64", TreeKind.REAL),)),),
    )
)
DEVICE = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol${VOLUME#vol-}"
BACK_UP = ("rsync", "-aHAXS", "--numeric-ids", "--modify-window=-1")


@pytest.fixture
def on_the_machine(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """As root, with directories of the test in place of this machine's /mnt and /srv."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    for name in ("mnt", "srv"):
        (tmp_path / name).mkdir()
    places = f"mount --bind {tmp_path}/mnt /mnt\nmount --bind {tmp_path}/srv /srv\n"

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", places + script]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def a_volume(image: Path, source: Path, how: Sequence[str], kind: str, munged: bool) -> None:
    """What a night leaves on it: the host's tree, and the manifest beside it."""
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-I", "256", "-O", "ea_inode", image], check=True)
    place = image.with_name("volume")
    place.mkdir()
    with a_loop_device(image) as device:
        subprocess.run(["mount", device, place], check=True)
        try:
            home = place / "hosts/us0a"
            home.mkdir(parents=True)
            subprocess.run([*BACK_UP, *how, f"{source}/", f"{home}/tree/"], check=True)
            write_manifest(
                home / "tree", kind, None, home / "manifest.jsonl.gz", Header("us0a", str(RUN), kind, munged)
            )
        finally:
            subprocess.run(["umount", place], check=True)
            wait_until_free(device)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (TreeKind.FAKE_SUPER, ["-M--fake-super"]),
        (TreeKind.FAKE_SUPER, ["-M--fake-super", "-M--munge-links"]),
        (TreeKind.REAL, []),
    ],
    ids=["fake super", "fake super with munged links", "real"],
)
def test_what_it_says_for_the_machine_gives_the_tree_back_identical(
    kind: TreeKind,
    how: list[str],
    tmp_path: Path,
    on_the_machine: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    source, munged = tmp_path / "source", len(how) > 1
    awkward.grow(source)
    a_volume(tmp_path / "image", source, how, kind, munged)
    said = commands(CARD, 4)
    assert said.count("apt-get update && apt-get install -y rsync systemd-container\n") == said.count(DEVICE) == 1
    script = said.replace("apt-get update && apt-get install -y rsync systemd-container\n", "")
    pasted = f"ID=us0a VOLUME=vol-0abc TREE={kind}\n" + ("MUNGED=--munge-links\n" if munged else "")

    with a_loop_device(tmp_path / "image") as device:
        done = on_the_machine(pasted + script.replace(DEVICE, str(device)))

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["run"] == str(RUN)
    assert json.loads(done.stdout).get("munged", False) is munged
    found = compare(read_real(source, _hash), read_real(tmp_path / "srv/restored", _hash))
    assert (found.findings, found.entries) == ((), len(list(read_real(source))))


def _hash(where: bytes, _: Entry) -> str:
    return sha256_of(where)


def test_it_names_the_volume_as_the_machines_of_a_night_do() -> None:
    named = subprocess.run(["sh", "-c", f"VOLUME=vol-0abc; echo {DEVICE}"], capture_output=True, text=True, check=True)

    assert named.stdout.strip() == str(MachinePaths().device("vol-0abc"))


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemctl is not installed")
def test_a_server_that_it_lets_run_starts_neither_its_timers_nor_its_mail_nor_its_backup(
    tmp_path: Path, on_the_machine: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    masking, _, _ = commands(CARD, 5).partition("systemd-nspawn")
    (tmp_path / "srv/restored/etc").mkdir(parents=True)

    done = on_the_machine(masking)

    assert done.returncode == 0, done.stdout + done.stderr
    masked = (tmp_path / "srv/restored/etc/systemd/system").iterdir()
    assert {path.name for path in masked if path.readlink() == Path("/dev/null")} == set(MASKED)
