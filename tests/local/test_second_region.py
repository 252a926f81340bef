"""The DR region, on real parts: a night in the first one, its copy and its archive in the second, and then the first
one is gone, with all that it held."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import HTTPClientError
from enclosed import POWERLESS, in_an_enclosure, without_powers

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import parse_recovery
from chalicelib.core.model import Recovery, RecoveryKind, RecoveryState
from ebbtide_console.sandbox import awkward
from ebbtide_console.sandbox.background import Access
from ebbtide_console.sandbox.cloud import Cloud, running
from ebbtide_console.sandbox.drill import drill
from ebbtide_console.sandbox.enrol import Host
from ebbtide_console.sandbox.geography import FIRST, SECOND
from ebbtide_console.sandbox.judge import judge
from ebbtide_console.sandbox.night import back_up
from ebbtide_console.sandbox.outage import await_copy
from ebbtide_console.sandbox.stack import Stack
from ebbtide_console.sandbox.trees import PROBE, Source
from ebbtide_console.sandbox.waiting import wait_for
from tests.debian import a_server
from tests.local.page import its_commands
from tests.local.sandbox_parts import client, followed
from tests.local.test_whole_nights import ENVIRONMENT, LONGEST_SECONDS, ROOT, traces_of
from tests.patience import for_make_long

GET = "import sys, urllib.request as web; sys.stdout.write(web.urlopen(sys.argv[1], timeout=9).read().decode())"
PAGE = "us0 is up\n"
PROGRAMS = Path(sys.executable).parent
ALL_STEPS = ["compare", "image boot", "machine", "materialise", "mount", "probe"]
ONCE = Config(retries={"total_max_attempts": 1})
EVERY_SERVICE = {
    "ec2": "describe_snapshots",
    "dynamodb": "list_tables",
    "s3": "list_buckets",
    "ssm": "describe_parameters",
    "lambda": "list_functions",
}


def tell(line: str) -> None:
    """Into what pytest shows of a test that fails."""
    print(line)


@contextmanager
def a_place() -> Iterator[Path]:
    """Where each host's own user gets through to its tree."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-night-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


def the_standby(cloud: Cloud) -> Stack:
    assert cloud.standby is not None
    return cloud.standby


def a_debian_host(place: Path) -> Host:
    root = place / "us0"
    subprocess.run(["cp", "-a", "--one-file-system", str(a_server()), str(root)], check=True)
    awkward.grow(root / "srv/awkward")
    (root / "var/www/html/index.html").write_text(PAGE)
    return Host(place / "hosts/us0", Source("us0", root, "Debian", probe=PROBE))


def a_plain_host(place: Path) -> Host:
    awkward.grow_plain(place / "us0")
    return Host(place / "hosts/us0", Source("us0", place / "us0", "a tree", whole_system=False))


def lose_the_first_region(cloud: Cloud) -> None:
    """What is asked there has no answer, and of all that it held only what crossed over is left."""
    world = cloud.stack.world
    held = [each.id for each in (*world.volumes.find_volumes({}), *world.volumes.find_snapshots({}))]
    assert len(held) == 2

    cloud.sandbox.lose(cloud.sandbox.first)

    for service, operation in EVERY_SERVICE.items():
        with pytest.raises(HTTPClientError):
            getattr(boto3.client(service, region_name=FIRST, config=ONCE), operation)()  # type: ignore[call-overload]
    assert not any(map(cloud.sandbox.substrate.has_disk, held))


def what_is_there(cloud: Cloud) -> dict[str, list[str]]:
    """The roles of the second region's disks, every bucket, the second region's parameters of ours."""
    volumes = the_standby(cloud).world.volumes
    s3, ssm = (client(name, cloud.sandbox.endpoint, SECOND) for name in ("s3", "ssm"))
    return {
        "volumes": [volume.id for volume in volumes.find_volumes({})],
        "snapshots": [snapshot.tags[tags.ROLE] for snapshot in volumes.find_snapshots({})],
        "buckets": [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]],
        "parameters": [each["Name"] for each in ssm.describe_parameters()["Parameters"] if "ebbtide" in each["Name"]],
    }


ONLY_WHAT_CROSSED_OVER = {
    "volumes": [],
    "snapshots": ["copy"],
    "buckets": [f"ebbtide-dev-archive-123456789012-{SECOND}"],
    "parameters": ["/ebbtide/main/host-key"],
}


def restored(standby: Stack, host: Host) -> Recovery:
    """The host's newest point, brought up for good: open until its deadline, once it is known what came out of it."""
    recovery_id = parse_recovery(standby.invoke("restore", host=host.name, at=None)["recovery"])

    def known() -> Recovery | None:
        recovery = standby.world.catalog.get_recovery(recovery_id)
        return recovery if recovery.verdict else None

    return wait_for(f"restore {recovery_id}", known)


def is_identical(standby: Stack, host: Host, recovery: Recovery) -> bool:
    report = wire.parse_recovery_report(standby.world.archive.get(wire.recovery_report_key(recovery)))
    return judge(host.source, str(report.found), standby.world.archive).identical


def points(cloud: Cloud, standby: Stack) -> list[str]:
    """The snapshots of the second region's points, once everything is quiet."""
    assert cloud.sandbox.quiet()
    return [point.snapshot_id for point in standby.world.catalog.find_points()]


def empty_the_table(standby: Stack) -> None:
    (table,) = boto3.resource("dynamodb", region_name=standby.region.name).tables.all()
    for item in table.scan()["Items"]:
        table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})


# One process for all that one operator does: to start it takes longer than any of it.
AN_OPERATOR = """
import shlex, sys
from ebbtide_console.cli import openings
from ebbtide_console.cli.main import main
openings.LOOK_EVERY_SECONDS = 0.2
for words in sys.argv[1:]:
    print("$ ebbtide", words)
    code = main(shlex.split(words))
    assert code == 0, (words, code)
"""
OPENED = re.compile(r"ebbtide-agent restore /etc/fstab --from (\S+)")


def on_us0(cloud: Cloud, *argv: str) -> str:
    """What a program says that runs there, with an environment that knows the second region alone."""
    access = Access("", cloud.sandbox.substrate.machine_endpoint, SECOND).variables(is_within=True)
    environment = {**access, "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), *argv]
    ran = subprocess.run(cloud.sandbox.substrate.host_command("us0", command), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def what_the_page_says_then() -> list[str]:
    """The commands of docs/restore.md when the region is gone, without what they say about themselves; ours as words
    alone. The first of them says which region it is, as each of us has it in its environment here."""
    commands = [each.text for each in its_commands() if each.section == "When the region is gone"]
    region, *others = (shlex.join(shlex.split(each, comments=True)) for each in commands)
    assert region == f"export AWS_DEFAULT_REGION={SECOND}"
    return [each.removeprefix("ebbtide ") for each in others]


def ebbtide(cloud: Cloud, *commands: str) -> dict[str, str]:
    """What each of these commands of an operator says."""
    said = on_us0(cloud, sys.executable, "-c", AN_OPERATOR, *commands)
    _, *answers = said.split("$ ebbtide ")
    return dict(answer.split("\n", 1) for answer in answers)


@for_make_long
@in_an_enclosure
@pytest.mark.fault("A15")
def test_a15_once_the_first_region_is_gone_the_second_one_proves_and_restores_a_real_server(tmp_path: Path) -> None:
    host = a_debian_host(tmp_path)
    with running(tmp_path / "state", 0, tell, with_standby=True) as cloud:
        standby = the_standby(cloud)
        run = back_up(cloud, [host], tell)
        copy = await_copy(cloud, run, SECOND)
        assert cloud.sandbox.quiet()

        lose_the_first_region(cloud)
        empty_the_table(standby)
        left = what_is_there(cloud)
        standby.region.schedule.fire("tick")
        points_there = points(cloud, standby)
        heard = followed(cloud.sandbox.endpoint, SECOND)
        drilled = drill(cloud, standby, host, tell)
        got, back = tmp_path / "hostname", tmp_path / "back"
        identity, finding, restoring, to_open, getting = what_the_page_says_then()
        getting = getting.replace("/srv/invoice.txt", f"/etc/hostname --to {got} --key {cloud.operators_key}")
        account = on_us0(cloud, str(PROGRAMS / "aws"), *identity.split()[1:])
        said = ebbtide(cloud, finding, "card", restoring, to_open, getting)
        find, card, restore, opening, get = said.values()
        (recovery,) = (each for each in standby.world.catalog.find_recoveries() if each.kind is RecoveryKind.RESTORE)
        (machine,) = standby.world.machines.find({tags.RECOVERY: str(recovery.id)})
        page = on_us0(cloud, sys.executable, "-c", GET, f"http://{machine.address}/")
        (address,) = OPENED.findall(opening)
        own = ("--etc", str(host.etc), "--state", str(host.state))
        agent = (sys.executable, str(cloud.agent), "restore", str(host.source.root / "etc/hostname"), *own)
        on_us0(cloud, *agent, "--from", address, "--into", str(back))

        assert (left, points_there) == (ONLY_WHAT_CROSSED_OVER, [copy.id])
        assert drilled.verdict == "proven, identical"
        assert (recovery.verdict, recovery.state, recovery.point.snapshot_id) == ("proven", RecoveryState.OPEN, copy.id)
        assert is_identical(standby, host, recovery)
        of_it = [each for each in heard() if each["recovery"] == str(recovery.id)]
        assert sorted(each["step"] for each in of_it if each["step"] and not each["address"]) == ALL_STEPS
        assert (recovery.address, "proven") in [(each["address"], each["verdict"]) for each in of_it]
        assert (machine.id, machine.address) == (recovery.machine_id, recovery.address)
        assert '"Account": "123456789012"' in account
        assert find.splitlines()[-1].endswith("  /etc/hostname")
        assert f"export AWS_DEFAULT_REGION={SECOND} ARCHIVE={standby.world.settings.bucket}\n" in card
        assert f"ID=us0a SNAPSHOT={copy.id} " in card and FIRST not in card
        assert f"log in at {machine.address}, " in restore
        assert page == PAGE
        assert (got.read_bytes(), "as backed up" in get) == ((host.source.root / "etc/hostname").read_bytes(), True)
        assert (back / "etc/hostname").read_bytes() == got.read_bytes()


@without_powers
@pytest.mark.fault("A15")
@pytest.mark.fault("A17")
def test_a17_with_the_copys_event_lost_and_the_archive_late_the_ticks_of_the_second_region_follow() -> None:
    with a_place() as place, running(place / "state", 0, tell, with_standby=True) as cloud:
        standby, host = the_standby(cloud), a_plain_host(place)
        standby.region.schedule.disable()  # it ticks when it is told to
        standby.region.bus.drop(lambda event: event["detail"].get("event") == "copySnapshot")
        cloud.sandbox.objects.replication.stop()
        run = back_up(cloud, [host], tell)
        copy = await_copy(cloud, run, SECOND)

        standby.region.schedule.fire("tick")
        without_reports = points(cloud, standby)
        cloud.sandbox.objects.replication.resume()
        unheard = points(cloud, standby)
        standby.region.schedule.fire("tick")
        followed = points(cloud, standby)
        lose_the_first_region(cloud)
        drilled = drill(cloud, standby, host, tell)
        empty_the_table(standby)
        rebuilt = standby.rebuild()
        recovery = restored(standby, host)

        assert len(standby.region.bus.lost) == 1
        assert (without_reports, unheard, followed) == ([], [], [copy.id])
        assert drilled.verdict == "as recorded, identical, not booted"
        assert rebuilt == "1 runs, 1 results, 1 points, 1 recoveries"
        assert (recovery.verdict, is_identical(standby, host, recovery)) == ("as recorded", True)
        assert (cloud.sandbox.work.faults, standby.region.functions.dead_letters) == ([], [])


@for_make_long
def test_ctrl_c_in_the_outage_leaves_nothing_running_and_what_the_second_region_is_up_with_alone(
    tmp_path: Path,
) -> None:
    awkward.grow_plain(tmp_path / "tree")
    with a_place() as state:
        words = ["sandbox", "--state", str(state), "night", "--tree", str(tmp_path / "tree"), "--second-region"]
        begun = subprocess.Popen(
            [*POWERLESS, sys.executable, "-m", "ebbtide_console", *words],
            cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert begun.stdout is not None
        next(line for line in begun.stdout if f"{SECOND}: us0: drill: a volume" in line)
        os.killpg(begun.pid, signal.SIGINT)
        went_on, _ = begun.communicate(timeout=LONGEST_SECONDS)

        left = traces_of(state)
        up = sandbox(state, "up", "--second-region")
        find = f"{sys.executable} -m ebbtide_console find '/*'"
        told = sandbox(state, "shell", "sh", "-c", f"{find}; AWS_DEFAULT_REGION={FIRST} {find}")
        down = sandbox(state, "down")

        assert (begun.returncode, left) == (130, []), went_on
        assert f"AWS_DEFAULT_REGION={SECOND} " in up.stdout, up.stderr
        assert told.stdout.startswith("host  mode "), told.stderr
        assert f"asking AWS in {FIRST} " in told.stderr, told.stdout
        assert down.returncode == 0, down.stderr
        assert traces_of(state) == []


def sandbox(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*POWERLESS, sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(state), *words]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=LONGEST_SECONDS)
