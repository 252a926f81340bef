"""A restored Debian image boots with its own init, answers, is not altered, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ebbtide_agent.entry import read_real
from ebbtide_agent.host.filters import attribute_filters
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.report import FAKE_SUPER
from ebbtide_agent.restore.boot_image import Boot, booted, name_of_its_own
from ebbtide_agent.restore.materialise import materialise
from ebbtide_agent.restore.probe import probe
from ebbtide_agent.restore.within import POWERS, run_within
from tests.debian import a_server

RSYNC = ["rsync", "-aHAXS", "--numeric-ids", "--modify-window=-1", *attribute_filters(True, FAKE_SUPER)]

NAME = "restored-us0a"
AGENT = Path(__file__).parents[2] / "agent"
MAY_MOUNT = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or not MAY_MOUNT, reason="booting an image needs root that may mount"),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed"),
]


@pytest.fixture(scope="module")
def image() -> Path:
    return a_server()


@pytest.fixture
def restored(image: Path, tmp_path: Path) -> Iterator[Path]:
    """The image after a backup and a restore: into a fake-super store, and made real again."""
    tree = tmp_path / "store" / "tree"
    tree.mkdir(parents=True)
    subprocess.run([*RSYNC, "-M--fake-super", f"{image}/", f"{tree}/"], check=True, timeout=300)
    materialise(tree)
    yield tree
    shutil.rmtree(tmp_path / "store")


def what_is_there(restored: Path) -> dict[str, object]:
    """What a boot of ours could leave behind on this machine, where others may be booting and mounting, too."""
    ours = name_of_its_own()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "mounts": [line for line in mounts if str(restored) in line],
        "cgroups": found_below("/sys/fs/cgroup", ours),
        "locks": found_below("/run/systemd", "restored"),
        "containers": sorted(processes_told(f"NOTIFY_SOCKET=@{ours}")),
    }


def found_below(place: str, name: str) -> list[str]:
    """What is called so; what goes away meanwhile is somebody else's."""
    return sorted(f"{where}/{name}" for where, below, files in os.walk(place) if name in below or name in files)


def processes_told(variable: str) -> Iterator[str]:
    """The processes with this in their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                yield process.name


def test_the_restored_image_boots_and_its_service_answers(restored: Path, image: Path) -> None:
    before = what_is_there(restored)
    tree = list(read_real(restored, lambda where, _: sha256_of(where)))

    with booted(restored, NAME, patience=120) as boot:
        while_it_is_up = what_is_there(restored)
        networks = {Path(f"/proc/{whose}/ns/net").readlink() for whose in ("self", boot.leader)}
        answer = probe("http://127.0.0.1/", boot.leader or 0)
        refused = probe("tcp://127.0.0.1:9", boot.leader or 0, patience=0)

    assert boot.why is None
    assert boot.is_up
    assert (answer.answer, answer.ok) == ("200 OK", True)
    assert len(networks) == 2
    assert not refused.ok
    assert list(read_real(restored, lambda where, _: sha256_of(where))) == tree
    assert tree == list(read_real(image, lambda where, _: sha256_of(where)))
    assert while_it_is_up["cgroups"] and while_it_is_up["containers"]
    assert what_is_there(restored) == before
    assert [path.name for path in restored.parent.iterdir()] == ["tree"]


@pytest.mark.fault("O6")
@pytest.mark.fault("O9")
def test_a_restored_clone_starts_its_services_under_another_name_and_neither_cron_nor_a_backup(restored: Path) -> None:
    for unit in ("cron.service", "ebbtide-agent.timer", "postfix.service", "witness.service"):
        enable(restored, unit)

    with booted(restored, NAME, patience=120) as boot:
        image = Path(f"/proc/{boot.leader}/root")
        ran = sorted(path.name for path in (image / "run/ran").iterdir())
        name = inside(boot, "hostname").strip()

    assert ran == ["witness.service"]
    assert name == NAME


# What it is that it runs beside the image's init, and what it may do there.
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
WHERE = f"cd /proc/$$; for each in {' '.join(NAMESPACES)}; do readlink ns/$each; done; grep -h ^0:: cgroup ../1/cgroup"
ITS_POWERS = "grep ^Cap /proc/self/status; env; mount -t tmpfs tmpfs /mnt; mknod /mnt/disk b 8 0; unshare --net true"


def test_a_command_asks_in_all_of_the_image_and_may_do_there_less_than_its_init(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "of this machine's")
    with booted(image, NAME, patience=120) as boot:
        leader = boot.leader or 0
        asked = [
            probe(f"command: {command}", leader, patience=0, command_seconds=seconds)
            for command, seconds in (
                ("systemctl is-active nginx.service", 30),
                ("systemctl is-active none.service", 30),
                ("sh -c 'kill -9 $$'", 30),
                (r"printf 'first\n\033[2J\tlast'", 30),
                ("sh -c 'yes | head -c 9000000 | tr \\\\n x >&2; exit 1'", 30),
                ("sh -c 'trap : TERM; echo waiting; setsid sleep 1000 & while :; do :; done'", 1),
            )
        ]
        *there, its_group, inits_group = run_within(leader, ["sh", "-c", WHERE], 30).out.decode().split()
        here, inits = (
            [str(Path(f"/proc/{each}/ns/{name}").readlink()) for name in NAMESPACES] for each in ("self", leader)
        )
        may = run_within(leader, ["sh", "-c", ITS_POWERS], 30)
    not_an_image = probe(f"command: touch {tmp_path}/outside", os.getpid(), patience=0)

    assert boot.why is None
    assert [(answer.answer[:44], answer.ok) for answer in asked] == [
        ("exit code 0: active", True),
        ("exit code 3: inactive", False),
        ("exit code 137: it said nothing", False),
        ("exit code 0: \\x1b[2J\\tlast", True),
        (f"exit code 1: y{'xy' * 15}", False),
        ("not over after 1 s: waiting", False),
    ]
    assert max(len(answer.answer) for answer in asked) < 250
    assert (there, its_group) == (inits, inits_group)
    assert not set(there) & set(here)
    powers = dict(line.split(":\t") for line in may.out.decode().splitlines() if line.startswith("Cap"))
    assert int(powers["CapInh"], 16) == int(powers["CapAmb"], 16) == 0
    most = sum(1 << power for power in POWERS)
    assert [int(powers[each], 16) & ~most for each in ("CapEff", "CapPrm", "CapBnd")] == [0, 0, 0]
    assert b"A_SECRET" not in may.out
    assert may.exit_code != 0
    assert len(may.err.splitlines()) >= 3
    assert "is none of an image's" in not_an_image.answer
    assert not (tmp_path / "outside").exists()


def enable(tree: Path, unit: str) -> None:
    """A unit of the image that is started at boot, and leaves a file in /run/ran when it is."""
    units = tree / "etc/systemd/system"
    service = units / unit.replace(".timer", ".service")
    service.write_text(
        f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'mkdir -p /run/ran; touch /run/ran/{service.name}'\n"
    )
    if unit.endswith(".timer"):
        (units / unit).write_text("[Timer]\nOnBootSec=0\nAccuracySec=1ms\n")
    wanted = units / ("timers.target.wants" if unit.endswith(".timer") else "multi-user.target.wants")
    wanted.mkdir(exist_ok=True)
    (wanted / unit).unlink(missing_ok=True)
    (wanted / unit).symlink_to(f"/etc/systemd/system/{unit}")


def inside(boot: Boot, *command: str) -> str:
    """What a program of the image prints, run in the booted image."""
    enter = ["nsenter", "--target", str(boot.leader), "--mount", "--uts", "--pid", "--root"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_tree_without_an_init_is_not_booted(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()

    with booted(tmp_path, NAME) as boot:
        assert (boot.leader, boot.why) == (None, "the image has no init, and the policy has no `start` for its host")


@pytest.mark.parametrize("stands", [False, True])
def test_an_init_that_cannot_be_told_what_not_to_start_is_not_started(stands: bool, tmp_path: Path) -> None:
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/init").write_text("#!/bin/sh\n")

    with booted(tmp_path, NAME, stands=stands) as boot:
        assert boot.leader is None
        assert (boot.why or "").startswith("its init is neither systemd nor sysvinit")


def test_an_init_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    before = what_is_there(tmp_path)
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").write_text("not a program")

    with booted(tmp_path, NAME, patience=120) as boot:
        assert boot.leader is None
        assert boot.why is not None
        assert boot.why.startswith("it ended: ")

    assert what_is_there(tmp_path) == before


def test_an_init_that_never_gets_ready_is_given_up(restored: Path) -> None:
    before = what_is_there(restored)
    init = restored / "usr/lib/systemd/systemd"
    init.unlink()
    init.write_text("#!/bin/sh\necho waiting for ever\nexec sleep 1000\n")
    init.chmod(0o755)

    # A machine that has a lot else to do takes longer to begin with it.
    assert any(why_it_was_given_up(restored, patience) == "waiting for ever" for patience in (2, 20, 120))
    assert what_is_there(restored) == before


def why_it_was_given_up(restored: Path, patience: float) -> str:
    """The last words of an init that was waited for so long, and no longer."""
    with booted(restored, NAME, patience) as boot:
        assert boot.leader is None
        assert boot.why
        given_up, _, last_words = boot.why.partition(": ")
        assert given_up == "not started in time"
        return last_words


def test_two_boots_at_once_have_names_of_their_own_though_their_processes_have_one_number() -> None:
    code = (
        "import os; from ebbtide_agent.restore.boot_image import name_of_its_own as n; print(os.getpid(), n()); input()"
    )
    alone = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(alone, cwd=AGENT, stdin=pipe, stdout=pipe, text=True) as one,
        subprocess.Popen(alone, cwd=AGENT, stdin=pipe, stdout=pipe, text=True) as other,
    ):
        assert one.stdout and other.stdout
        (number, name), (same, another) = one.stdout.readline().split(), other.stdout.readline().split()
        for each in (one, other):
            each.communicate("\n", timeout=60)

    assert number == same
    assert name != another
