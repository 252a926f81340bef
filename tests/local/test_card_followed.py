"""The recovery card, followed to the letter: its AWS commands in a clean shell, the rest on a volume like a night's."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import TreeKind
from ebbtide_agent.entry import Entry, read_real
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore.compare import compare
from ebbtide_agent.restore.masked import MASKED
from ebbtide_console import session
from ebbtide_console.cli.main import main
from ebbtide_console.sandbox import awkward
from ebbtide_console.sandbox.server import Sandbox
from tests.builders import A_POLICY_TEXT, a_run, what_was_briefed
from tests.local.aws_cli import the_aws_cli
from tests.local.card import ACCOUNT, CARD, DEVICE, PACKAGES, RUN, a_volume, commands
from tests.local.sandbox_parts import a_sandbox, client
from tests.loops import a_loop_device

A_KEY = f"manifests/us0a/{RUN}.jsonl.gz"


def chosen(card: str, host: str) -> str:
    """The first region's line and the server's."""
    lines = commands(card, 1).splitlines()
    return "\n".join((lines[0], next(line for line in lines if f"  # {host} " in line))) + "\n"


@dataclass(frozen=True)
class Account:
    """What somebody who follows the card has: an account with a night in it, the AWS CLI, and the card."""

    ec2: Any
    snapshot: str
    card: str
    place: Path
    access: Mapping[str, str]

    def paste(self, script: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.place}:{self.place / 'cli'}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=self.place, env={"PATH": path, "HOME": str(self.place), **self.access},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def copy(self, taken: str, complete: Sequence[str] = ("eu0a", "us0a")) -> str:
        """One more snapshot: a copy, made just now, of what was taken then."""
        of_it = {tags.ROLE: tags.Role.COPY, tags.TAKEN: f"{taken}T03:00:00+00:00"}
        return take(self.ec2, {**snapshot_tags(complete), tags.RUN: f"main/{taken}/1", **of_it})


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    pytest.importorskip("awscli", reason="the AWS CLI of requirements-dev.txt is not installed")
    place = tmp_path_factory.mktemp("account")
    with a_sandbox(place / "state") as sandbox, the_aws_cli(place / "cli"), pytest.MonkeyPatch.context() as patch:
        access = {
            "AWS_ENDPOINT_URL": sandbox.endpoint,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
        }
        for name, value in {**access, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
            patch.setenv(name, value)
        snapshot = a_night(sandbox)
        assert main(["card", "--to", str(place / "card.txt")]) == 0
        a_machine_that_is_not_up_at_once(place)
        yield Account(client("ec2", sandbox.endpoint), snapshot, (place / "card.txt").read_text(), place, access)


def a_machine_that_is_not_up_at_once(place: Path) -> None:
    """An `ssh` that gets in when it is tried a second time: no sandbox has Debian's image."""
    (place / "ssh").write_text('#!/bin/sh\necho "$*" >>tried\n[ "$(grep -c -- "$3" tried)" -gt 1 ] && echo "in: $*"\n')
    (place / "sleep").write_text("#!/bin/sh\n")
    for name in ("ssh", "sleep"):
        (place / name).chmod(0o755)


def a_night(sandbox: Sandbox) -> str:
    """A snapshot as a run leaves it, and a report and a manifest in the archive; the snapshot's id."""
    ec2, s3 = client("ec2", sandbox.endpoint), client("s3", sandbox.endpoint)
    bucket = session.ARCHIVE.format(account=ACCOUNT, region="eu-west-1")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    report = {"schema": 1, "run": str(RUN), "arch": "x86_64", "receiver": {"manifest": None}}
    run = a_run(RUN)
    reports = {
        wire.report_key(run, host_id): json.dumps({**report, "id": host_id}).encode() for host_id in ("eu0a", "us0a")
    }
    for key, body in (
        ("policies/000001.toml", A_POLICY_TEXT.encode()),
        *what_was_briefed(run).items(),
        *reports.items(),
        (A_KEY, subprocess.run(["gzip"], input=b'{"v":1,"p":"etc/fstab","t":"f"}\n', stdout=-1, check=True).stdout),
    ):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    snapshot = take(ec2, snapshot_tags(["eu0a", "us0a"]))
    assert sandbox.quiet()
    return snapshot


# A second time while it is still there the first: from another shell, as for another server.
BROUGHT = ("us0", "us0")


def snapshot_tags(complete: Sequence[str]) -> dict[str, str]:
    return tags.snapshot_tags(RUN, complete, TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)


def take(ec2: Any, tagged: Mapping[str, str]) -> str:
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=80)["VolumeId"]
    listed = [{"Key": key, "Value": value} for key, value in tagged.items()]
    taken = ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": listed}])
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[taken["SnapshotId"]], WaiterConfig={"Delay": 1})
    return str(taken["SnapshotId"])


def test_its_aws_commands_bring_up_a_server_and_once_more_beside_that_and_take_all_of_it_down(account: Account) -> None:
    ec2, card = account.ec2, account.card

    brought = [
        account.paste(f"{chosen(card, host)}{commands(card, 3)}set >{number}.variables\n")
        for number, host in enumerate(BROUGHT)
    ]
    opened = [the_ways_in(ec2, machine) for machine in the_machines(ec2)]
    machines, held = the_machines(ec2), the_tags(ec2, account.snapshot)
    keys = {path.name: path.read_text() for path in account.place.glob("*.pem")}
    volumes = {
        each["VolumeId"]: each
        for each in ec2.describe_volumes(Filters=[{"Name": "snapshot-id", "Values": [account.snapshot]}])["Volumes"]
    }
    taken, left = [], []
    for number in range(len(BROUGHT)):
        after = "" if number else commands(card, 7)
        taken.append(account.paste(f"set -a\n. ./{number}.variables\n{after}{commands(card, 6)}"))
        left.append(len(list(account.place.glob("*.pem"))))

    for host, done in zip(BROUGHT, brought, strict=True):
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"ID={host}a VOLUME=vol-" in done.stdout
        assert done.stdout.splitlines()[-1].startswith(f"in: -t -i ebbtide-card-{host}a-")
    assert {machine["InstanceType"] for machine in machines} == {"t3a.medium"}
    assert {each["Attachments"][0]["InstanceId"] for each in volumes.values()} == {
        machine["InstanceId"] for machine in machines
    }
    assert sorted(name.rpartition("-")[0] for name in keys) == [f"ebbtide-card-{host}a" for host in sorted(BROUGHT)]
    assert left == [1, 0]
    assert opened == [{(port, "203.0.113.9/32") for port in (22, 80, 443)}] * len(BROUGHT)
    assert all("PRIVATE KEY" in key for key in keys.values())
    assert held["ebbtide:hold"] == "recovery by hand"
    for done in taken:
        assert done.returncode == 0, done.stdout + done.stderr
    assert '"p":"etc/fstab"' in taken[0].stdout
    assert the_machines(ec2) == []
    assert volumes.keys() & {each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]} == set()
    groups = [each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]]
    assert [name for name in groups if "ebbtide-card" in name] == []
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert list(account.place.glob("*.pem")) == []
    assert "ebbtide:hold" not in the_tags(ec2, account.snapshot)


def test_the_newest_is_what_was_taken_last_of_that_very_server_whenever_it_was_copied(account: Account) -> None:
    newer, older = account.copy("2026-12-02"), account.copy("2026-12-01")
    account.copy("2026-12-03", complete=("aus0", "auzz"))
    account.ec2.create_tags(Resources=[older], Tags=[{"Key": tags.DAMAGED, "Value": "main/2026-12-02/2"}])

    done = account.paste(chosen(account.card, "us0") + commands(account.card, 2))

    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(line[0], *line[2:]) for line in lines[-2:]] == [
        (older, "main/2026-12-01/1", "main/2026-12-02/2"),
        (newer, "main/2026-12-02/1", "None"),
    ], done.stderr


def test_the_newest_list_of_files_is_the_one_that_was_written_last_whatever_it_is_called() -> None:
    second, tenth = "main/2026-11-22/1/4f2a.2.jsonl.gz", "main/2026-11-23/10/9b1c.jsonl.gz"
    listed = [
        f"2026-11-22 03:10:07       1834 manifests/us0a/{second}",
        "2026-11-22 02:45:11       1790 manifests/us0a/main/2026-11-22/1/4f2a.jsonl.gz",
        f"2026-11-23 04:02:53        912 manifests/us0a/{tenth}",
        "2026-11-23 02:45:09       1795 manifests/us0a/main/2026-11-23/2/77de.jsonl.gz",
    ]

    assert the_newest_of(listed) == f"manifests/us0a/{tenth}"
    assert the_newest_of(listed[:2]) == f"manifests/us0a/{second}"


def the_newest_of(listed: Sequence[str]) -> str:
    """By the card's own line, of what `aws s3 ls --recursive` lists."""
    finding = next(line for line in commands(CARD, 7).splitlines() if "KEY=" in line)
    listing = "\n".join(listed)
    script = f"aws() {{ echo '{listing}'; }}\n{finding}\necho $KEY"
    return subprocess.run(["sh", "-eu", "-c", script], env={"PATH": os.environ["PATH"], "ARCHIVE": "a", "ID": "us0a"},
        capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip


def test_a_hold_that_somebody_else_has_set_stays_as_it_is(account: Account) -> None:
    snapshot = account.copy("2026-11-20")
    account.ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "ebbtide:hold", "Value": "court case 4711"}])
    holding = commands(account.card, 3).partition("if [ ! -e")[0]
    letting_go = commands(account.card, 6).splitlines()[-1]

    done = account.paste(f"{chosen(account.card, 'us0')}SNAPSHOT={snapshot}\n{holding}{letting_go}\n")

    assert done.returncode == 0, done.stderr
    assert the_tags(account.ec2, snapshot)["ebbtide:hold"] == "court case 4711"


def test_no_key_is_written_over(account: Account) -> None:
    there = "echo the only one >ebbtide-card-us0a-$$.pem\n"
    making = commands(account.card, 3).partition("set -- ")[0]

    account.paste(f"{there}{chosen(account.card, 'us0')}{making}")

    [key] = account.place.glob("*.pem")
    assert key.read_text() == "the only one\n"
    key.unlink()


def the_machines(ec2: Any) -> list[Any]:
    all_of_them = [each for found in ec2.describe_instances()["Reservations"] for each in found["Instances"]]
    return [machine for machine in all_of_them if machine["State"]["Name"] != "terminated"]


def the_ways_in(ec2: Any, machine: Any) -> set[tuple[int, str]]:
    """Ports, and from where each is reached."""
    [group] = ec2.describe_security_groups(GroupIds=[each["GroupId"] for each in machine["SecurityGroups"]])[
        "SecurityGroups"
    ]
    return {(way["FromPort"], each["CidrIp"]) for way in group["IpPermissions"] for each in way["IpRanges"]}


def test_what_it_serves_is_for_everybody_once_its_reader_says_so_and_to_log_in_is_not(account: Account) -> None:
    said = commands(account.card, 3)
    ways = said[said.index("for PORT") : said.index("VOLUME=")]
    group = account.ec2.create_security_group(GroupName="for-all", Description="a test's")["GroupId"]

    done = account.paste(f"{chosen(account.card, 'us0')}GROUP={group} ME=203.0.113.9/32 WHO=0.0.0.0/0\n{ways}")

    assert done.returncode == 0, done.stderr
    ways_in = the_ways_in(account.ec2, {"SecurityGroups": [{"GroupId": group}]})
    assert ways_in == {(22, "203.0.113.9/32"), (80, "0.0.0.0/0"), (443, "0.0.0.0/0")}
    account.ec2.delete_security_group(GroupId=group)


def the_tags(ec2: Any, snapshot: str) -> dict[str, str]:
    [found] = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


# -- on the machine ---------------------------------------------------------------------------------------------------


@pytest.fixture
def on_the_machine(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """As root, with directories of the test in place of this machine's /mnt and /srv, and in a network of its own."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    for name in ("mnt", "srv"):
        (tmp_path / name).mkdir()
    places = f"mount --bind {tmp_path}/mnt /mnt\nmount --bind {tmp_path}/srv /srv\n"

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-e", "-c", places + script]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


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
    assert said.count(PACKAGES) == said.count(DEVICE) == 1
    script = said.replace(PACKAGES, "")
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


@pytest.mark.skipif(shutil.which("nft") is None, reason="nftables is not installed")
def test_a_server_that_it_lets_run_does_none_of_the_originals_work(
    tmp_path: Path, on_the_machine: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    running, _, _ = commands(CARD, 5).partition("chroot ")
    started = running.replace("systemd-nspawn ", "nft list ruleset >/srv/filter; printf '%s\\n' ")
    restored = tmp_path / "srv/restored"
    kept = {"web.service", "tmp.mount", "dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount", "-.mount"}
    others = {"job1.timer", "job@.timer", r"mnt-a\x2dshare.mount", "mnt-later.automount"}
    for path in (
        *("etc/inittab", "etc/fstab", "etc/rc2.d/S01cron", "etc/rc2.d/S01nginx", "etc/hostname"),
        *(f"etc/systemd/system/{unit}" for unit in kept | others),
        *("usr/lib/systemd/system/job2.timer", "usr/local/lib/systemd/system/job3.timer"),
        "var/lib/systemd/linger/ada",
    ):
        (restored / path).parent.mkdir(parents=True, exist_ok=True)
        (restored / path).write_text("here")

    done = on_the_machine(f"ID=us0a\n{started}")

    assert done.returncode == 0, done.stdout + done.stderr
    on_the_card = {unit.removesuffix(".service") for unit in MASKED if not unit.endswith(".timer")}
    named, *masked = done.stdout.split("systemd.mask=")
    assert named.split() == ["--boot", "-D", ".", "systemd.hostname=restored-us0a"]
    assert {word.strip() for word in masked} == {
        *on_the_card,
        *others,
        "job2.timer",
        "job3.timer",
    }
    assert 'oif != "lo" tcp dport { 25, 465, 587 } reject' in (tmp_path / "srv/filter").read_text()
    assert [path.name for path in (restored / "etc/rc2.d").iterdir()] == ["S01nginx"]
    assert [path.name for path in (restored / "etc").glob("fstab*")] == ["fstab.original"]
    assert (restored / "etc/hostname").read_text() == "restored-us0a\n"
    assert not (restored / "var/lib/systemd/linger").exists()
