"""What will fail tonight is found by day, one thing at a time, and told with what to do; what is in order says so."""

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ebbtide_agent import moments
from ebbtide_agent.host.checks import disks, far_side, keys, past, places, programs, schedule, scripts
from ebbtide_agent.host.checks.everything import CHECKS, find
from ebbtide_agent.host.checks.finding import Check, Finding, Scene
from ebbtide_agent.host.guards import Baseline, keep_baseline
from ebbtide_agent.host.health import Sources
from ebbtide_agent.host.identity import Installed, encode_installed, machine_of, marks_of
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.mark import note_begun
from ebbtide_agent.host.target import Directory, Receiver, Remote, Volume
from ebbtide_agent.host_main import main
from ebbtide_agent.paths import DirectoryPaths, HostPaths, device_name
from ebbtide_agent.report import Report, encode_report
from tests.unit.agent.test_course import A_CONFIG
from tests.unit.agent.test_identity import without_root
from tests.unit.agent.test_preview import everything_below
from tests.unit.agent.test_survey import A_REPORT

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
needs_sshd = pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="OpenSSH's server is not installed")


def a_scene(place: Path, **changes: Any) -> Scene:
    etc, state = place / "etc", place / "state"
    for new in (etc, state, place / "root/etc"):
        new.mkdir(parents=True, exist_ok=True)
    settings = {"root": place / "root", "key": etc / "key", "known_hosts": etc / "known_hosts", **changes}
    return Scene(
        replace(A_CONFIG, **settings), HostPaths(etc, state, etc / "machine-id", etc / "product_uuid"), NOW, place
    )


def found(look: Check, scene: Scene) -> list[tuple[str, str]]:
    """Each level and all that is said, without where this test keeps things."""
    return [(each.level, f"{each.what}; {each.to_do}".replace(f"{scene.system}/", "")) for each in look(scene)]


def levels(look: Check, scene: Scene) -> list[str]:
    return [level for level, _ in found(look, scene)]


PIN_IT = 'ebbtide-agent install --host-key "ssh-ed25519 AAAA…", as whoever runs the far side tells it'


def a_key(path: Path, passphrase: str = "") -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-C", "", "-N", passphrase, "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def put(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@needs_ssh
def test_a_key_without_a_passphrase_that_is_ours_alone_is_in_order(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    a_key(scene.config.key)

    assert found(keys.is_ours_alone, scene) == [("ok", "KEY etc/key is a private key, and ours alone; ")]


@needs_ssh
def test_a_key_that_ssh_would_not_use_says_why(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    key = scene.config.key

    to_do = "ebbtide-agent install makes it, and prints what to tell the far side"
    assert found(keys.is_ours_alone, scene) == [("fault", f"KEY etc/key: No such file or directory; {to_do}")]
    key.mkdir()
    assert found(keys.is_ours_alone, scene) == [("fault", "KEY etc/key is no file; let KEY name a private key")]
    key.rmdir()
    a_key(key, passphrase="secret")
    ((level, said),) = found(keys.is_ours_alone, scene)
    assert level == "fault" and said.startswith("KEY etc/key is no private key that can be used unattended: ")
    assert said.endswith("incorrect passphrase supplied to decrypt private key; "
                         "ssh-keygen -p -N '' -f etc/key, if it has a passphrase")  # fmt: skip
    key.chmod(0o640)
    assert found(keys.is_ours_alone, scene) == [("fault", "KEY etc/key is open to others (0640); chmod 600 etc/key")]
    put(key, "no key at all\n", 0o600)
    assert levels(keys.is_ours_alone, scene) == ["fault"]
    key.unlink()
    key.write_bytes(a_key(tmp_path / "unix").read_bytes().replace(b"\n", b"\r\n"))
    key.chmod(0o600)
    ((level, said),) = found(keys.is_ours_alone, scene)
    assert level == "fault" and said.endswith("; sed -i 's/\\r$//' etc/key, since its lines end as on Windows")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_somebody_else_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    a_key(scene.config.key)
    os.chown(scene.config.key, 1234, 1234)

    assert found(keys.is_ours_alone, scene) == [("fault", "KEY etc/key belongs to the user 1234; chown 0 etc/key")]


@needs_ssh
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look at a file of its own as somebody else")
def test_a_key_of_root_that_everybody_may_read_is_a_fault_though_ssh_takes_it() -> None:
    with TemporaryDirectory(prefix="ebbtide-checks-") as place:
        Path(place).chmod(0o755)
        scene = a_scene(Path(place))
        a_key(scene.config.key).chmod(0o644)

        with without_root():
            told = found(keys.is_ours_alone, scene)

    assert told == [("fault", "KEY etc/key is open to others (0644); chmod 600 etc/key")]


@needs_ssh
@pytest.mark.parametrize(
    ("lines", "is_pinned"),
    [
        ("backup.example.org {key}\n", True),
        ("# comment\nother,backup.example.org {key}\n", True),
        ("elsewhere {key}\n", False),
        ("@cert-authority *.example.org {key}\n", True),
        ("@revoked backup.example.org {key}\n", False),
        ("", False),
    ],
)
def test_the_receivers_name_has_to_be_pinned(tmp_path: Path, lines: str, is_pinned: bool) -> None:
    scene = a_scene(tmp_path)
    public = a_key(tmp_path / "host").with_suffix(".pub").read_text().strip()
    put(scene.config.known_hosts, lines.format(key=public))

    pinned = ("ok", "KNOWN_HOSTS etc/known_hosts has the host key of backup.example.org; ")
    lacking = ("fault", f"KNOWN_HOSTS etc/known_hosts has no key of backup.example.org; {PIN_IT}")
    assert found(keys.is_pinned, scene) == [pinned if is_pinned else lacking]


@needs_ssh
def test_a_key_that_is_pinned_with_the_port_is_named_by_its_line(tmp_path: Path) -> None:
    scene = a_scene(tmp_path, target=Receiver("backup.example.org", 2222))
    public = a_key(tmp_path / "host").with_suffix(".pub").read_text()
    known = put(scene.config.known_hosts, f"# as ssh-keyscan prints it\n[backup.example.org]:2222 {public}")

    what = (
        "KNOWN_HOSTS etc/known_hosts has no key of backup.example.org, but one of [backup.example.org]:2222 in line 2"
    )
    lacking = [("fault", f"{what}; write backup.example.org there instead, without the port")]
    assert found(keys.is_pinned, scene) == lacking
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert found(keys.is_pinned, scene) == lacking
    put(known, f"backup.example.org {public}")
    assert levels(keys.is_pinned, scene) == ["ok"]


@needs_ssh
def test_a_hashed_name_is_found_and_a_file_that_others_may_write_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    known = put(scene.config.known_hosts, f"backup.example.org {a_key(tmp_path / 'h').with_suffix('.pub').read_text()}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)

    assert "backup.example.org" not in known.read_text()
    assert levels(keys.is_pinned, scene) == ["ok"]
    known.chmod(0o666)
    said = "KNOWN_HOSTS etc/known_hosts can be written by others; chmod 644 etc/known_hosts, and see who is in it"
    assert found(keys.is_pinned, scene) == [("fault", said)]
    known.unlink()
    gone = f"KNOWN_HOSTS etc/known_hosts: No such file or directory; {PIN_IT}"
    assert found(keys.is_pinned, scene) == [("fault", gone)]


@pytest.mark.parametrize("look", [keys.is_ours_alone, keys.is_pinned])
def test_a_directory_needs_no_key(tmp_path: Path, look: Check) -> None:
    assert found(look, a_scene(tmp_path, target=Directory(tmp_path / "backup"))) == []


def test_the_right_directory_has_room_and_should_be_on_a_disk_of_its_own(tmp_path: Path) -> None:
    scene = a_scene(tmp_path, target=Directory(tmp_path / "backup"))
    (tmp_path / "backup").mkdir()

    apart, (level, said) = found(far_side.answers_as_it_should, scene)

    assert apart == (
        "warning",
        "TARGET backup is on the file system that is backed up; "
        "what takes the one takes the other: give it a disk of its own",
    )
    assert level == "ok" and re.fullmatch(r"TARGET backup is the right directory, \S+ \S+ are free; ", said)
    assert list((tmp_path / "backup").iterdir()) == []


def test_a_directory_that_cannot_be_written_is_a_fault() -> None:
    with TemporaryDirectory(prefix="ebbtide-checks-") as place:
        Path(place).chmod(0o755)
        target = Directory(Path(place) / "backup")
        target.path.mkdir(mode=0o555)
        scene = a_scene(Path(place), target=target)

        with without_root():
            told = found(far_side.answers_as_it_should, scene)

    assert told == [
        ("fault", "TARGET backup cannot be written; run as root, and see that it is not mounted read-only"),
    ]  # fmt: skip


def test_a_directory_that_another_agent_writes_to_is_warned_and_its_lock_stays_as_it_is(tmp_path: Path) -> None:
    scene = a_scene(tmp_path, target=Directory(tmp_path / "backup"))
    lock = DirectoryPaths(tmp_path / "backup").lock
    with locked(lock):
        before = everything_below(lock.parent)

        while_held = found(far_side.answers_as_it_should, scene)
        with locked(scene.paths.lock):
            by_our_own_night = found(far_side.answers_as_it_should, scene)
    afterwards = found(far_side.answers_as_it_should, scene)

    said = "another backup of this host is under way (it holds backup/.lock); nothing, if it is over before tonight"
    assert while_held[0] == ("warning", said)
    assert not any("under way" in what for _, what in (*by_our_own_night, *afterwards))
    assert everything_below(lock.parent) == before


@pytest.mark.parametrize("is_there", [False, True])
def test_a_directory_without_locks_is_a_fault_and_nothing_is_left_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    scene = a_scene(tmp_path, target=Directory(tmp_path / "backup"))
    (tmp_path / "backup").mkdir()
    if is_there:
        (tmp_path / "backup/.lock").touch()
    before = set((tmp_path / "backup").iterdir())
    monkeypatch.setattr(fcntl, "flock", without_locks)

    (finding,) = find([far_side.answers_as_it_should], scene)

    assert finding.level == "fault" and "backup/.lock cannot be locked (No locks available)" in finding.what
    assert "mount its file system with locks, or choose another TARGET" in finding.what
    assert set((tmp_path / "backup").iterdir()) == before


def test_a_directory_or_a_dump_with_little_room_is_warned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = a_scene(tmp_path, target=Directory(tmp_path / "backup"))
    (tmp_path / "backup").mkdir()
    put(scene.paths.scripts / "10-dump", "#!/bin/sh\n", 0o755)
    for room in (places, far_side):
        # No disk is so large.
        monkeypatch.setattr(room, "_LITTLE_ROOM", 1 << 62)

    room_for_dumps, directory = found(places.have_room, scene)[-1], found(far_side.answers_as_it_should, scene)[-1]

    assert (room_for_dumps[0], directory[0]) == ("warning", "warning")
    assert re.fullmatch(
        r"state/dumps has only \S+ \S+ free; make room there before a dump is cut short", room_for_dumps[1]
    )
    assert re.fullmatch(r"TARGET backup has only \S+ \S+ free; make room there, or lower KEEP", directory[1])


def test_a_volume_has_to_be_attached_and_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = a_scene(tmp_path, target=Volume("web1", "vol-0abc", "eu-west-1", "archive"))
    disks = tmp_path / "disks"
    scene = replace(scene, paths=replace(scene.paths, disks=disks))
    device = f"disks/{device_name('vol-0abc')}"
    said = f"vol-0abc is not attached: {device} is not there; attach it to this instance"
    assert found(far_side.answers_as_it_should, scene) == [("fault", said)]
    assert levels(keys.is_pinned, scene) == []

    put(disks / device_name("vol-0abc"), "")

    assert found(far_side.answers_as_it_should, scene) == [("ok", "vol-0abc is attached; ")]
    monkeypatch.setitem(sys.modules, "boto3", None)
    said = f"TARGET {scene.config.target} needs boto3 to report; install python3-boto3"
    assert found(far_side.answers_as_it_should, scene) == [("fault", said)]


def test_a_directory_that_is_not_there_or_somebody_elses_is_a_fault(tmp_path: Path) -> None:
    target = Directory(tmp_path / "backup")
    scene = a_scene(tmp_path, target=target)

    ((level, said),) = found(far_side.answers_as_it_should, scene)
    assert level == "fault" and "is not a directory: mount what belongs there" in said
    assert said.endswith("; nothing is written there until then")
    put(DirectoryPaths(target.path).mark, '{"schema": 1, "host": "eu0"}')
    ((level, said),) = found(far_side.answers_as_it_should, scene)
    assert level == "fault" and "eu0" in said


@pytest.mark.parametrize(
    ("said", "level", "why"),
    [
        ("rsync  version 3.2.0  protocol version 31\n  ACLs, xattrs, hardlinks", "ok", "rsync 3.2.0; "),
        ("rsync  version v3.10.1  protocol version 32\n", "ok", "rsync 3.10.1; "),
        (
            "rsync  version 3.1.3  protocol version 31\n",
            "fault",
            "RSYNC rsync is rsync  version 3.1.3  protocol version 31; install rsync 3.2.0 or newer",
        ),
        (
            "rsync  version 3.2.7  protocol version 31\n no hardlinks, no symlinks, no xattrs, no ACLs\n",
            "fault",
            "RSYNC rsync was built without hardlinks, symlinks, ACLs, xattrs; install the distribution's rsync",
        ),
        (
            "openrsync: protocol version 29\n",
            "fault",
            "RSYNC rsync is openrsync: protocol version 29; install rsync 3.2.0 or newer",
        ),
    ],
)
def test_an_rsync_that_is_too_old_or_lacks_something_is_a_fault(
    tmp_path: Path, said: str, level: str, why: str
) -> None:
    program = put(tmp_path / "rsync", f"#!/bin/sh\necho '{said}'\n", 0o755)
    scene = a_scene(tmp_path, rsync=str(program), target=Directory(tmp_path / "backup"))

    assert found(programs.are_new_enough, scene) == [(level, why)]


def test_a_program_that_is_not_there_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert found(programs.are_new_enough, a_scene(tmp_path, rsync="no-such-rsync")) == [
        ("fault", "RSYNC no-such-rsync: no-such-rsync: No such file or directory; install rsync (apt install rsync)"),
        ("fault", "ssh: ssh: No such file or directory; install OpenSSH's client (apt install openssh-client)"),
    ]


@needs_ssh
def test_an_ssh_that_is_there_is_named(tmp_path: Path) -> None:
    assert "ok ssh: OpenSSH" in [
        f"{level} {text}"[:15] for level, text in found(programs.are_new_enough, a_scene(tmp_path))
    ]


def test_scripts_that_can_run_are_counted(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)

    assert found(scripts.can_run, scene) == [("ok", "no scripts in etc/backupscripts; ")]
    put(scene.paths.scripts / "10-dump", "#!/bin/sh\n", 0o755)
    put(scene.paths.scripts / "README", "", 0o666)
    assert found(scripts.can_run, scene) == [("ok", "1 script in etc/backupscripts can run; ")]
    put(scene.paths.scripts / "20-dump", "#!/bin/sh\n", 0o755)
    assert found(scripts.can_run, scene) == [("ok", "2 scripts in etc/backupscripts can run; ")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_script_of_somebody_else_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    os.chown(put(scene.paths.scripts / "10-dump", "#!/bin/sh\n", 0o755), 1234, 1234)

    assert found(scripts.can_run, scene) == [
        ("fault", "etc/backupscripts/10-dump belongs to the user 1234, and root would run it; "
                  "chown root etc/backupscripts/10-dump"),
    ]  # fmt: skip


def test_a_script_that_somebody_else_can_change_or_that_cannot_run_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.scripts / "10-dump", "#!/bin/sh\n", 0o777)
    put(scene.paths.scripts / "20-dump", "", 0o644)
    put(scene.paths.scripts / "25-dump", "#!/bin/sh\n# ebbtide: optional\n", 0o644)
    (scene.paths.scripts / "30-dump").symlink_to("gone")
    put(scene.paths.scripts / "40-dump", "#!/no/such/interpreter\n", 0o755)
    put(scene.paths.scripts / "45-dump", "# ebbtide: optional\n", 0o755)
    (scene.paths.scripts / "50-dump").symlink_to("/bin/true")
    os.mkfifo(scene.paths.scripts / "60-dump", 0o600)
    scene.paths.scripts.chmod(0o775)

    assert found(scripts.can_run, scene) == [
        ("fault", "etc/backupscripts can be written by others, and root would run it; chmod go-w etc/backupscripts"),
        ("fault", "etc/backupscripts/10-dump can be written by others, and root would run it; "
                  "chmod go-w etc/backupscripts/10-dump"),
        ("fault", "etc/backupscripts/20-dump is not executable; "
                  "chmod u+x etc/backupscripts/20-dump, or let its name begin with a letter"),
        ("warning", "etc/backupscripts/25-dump is not executable; "
                    "chmod u+x etc/backupscripts/25-dump, or let its name begin with a letter"),
        ("fault", "etc/backupscripts/30-dump: No such file or directory; rm etc/backupscripts/30-dump, or mend the link"),  # noqa: E501
        ("fault", "etc/backupscripts/40-dump is to be read by /no/such/interpreter, which is not there; "
                  "install that, or correct its first line"),
        ("warning", "etc/backupscripts/45-dump has no line #! at its top; "
                    "begin it with the program that is to read it, such as #!/bin/sh"),
        ("fault", "etc/backupscripts/60-dump is no regular file; rm etc/backupscripts/60-dump, and put a script there"),
    ]  # fmt: skip


def test_a_place_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path, include=("/etc", "/srv"))

    assert found(places.are_there, scene) == [
        ("fault", "/srv, which is to be backed up, is not there below root; "
                  "mount or restore it, mend what keeps it out, or take it out of etc/backup_include"),
    ]  # fmt: skip
    assert found(places.are_there, a_scene(tmp_path)) == [("ok", "everything below root is there; ")]
    assert found(places.are_there, a_scene(tmp_path, include=("/etc",))) == [("ok", "/etc below root is there; ")]
    put(tmp_path / "etc/backup_exclude", "*\n")
    assert found(places.are_there, a_scene(tmp_path, exclude=("*",))) == [
        ("fault", "/, which is to be backed up, is not: nothing in it travels (root/etc: etc/backup_exclude:1: *"
                  " excludes it); mount or restore it, mend what keeps it out, or take it out of etc/backup_include"),
    ]  # fmt: skip


def test_what_was_mounted_at_the_last_complete_night_and_is_not_now_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    assert found(places.are_mounted, scene) == []
    (tmp_path / "root/srv").mkdir()
    mounts = {f"{os.path.realpath(tmp_path)}/root/srv": "ext4"}
    keep_baseline(scene.paths.baseline, Baseline("", 1, 1, 1, mounts))

    assert found(places.are_mounted, scene) == [
        ("fault", "root/srv is not mounted; at the last complete night it was (ext4); "
                  "mount it. If it is meant: ebbtide-agent run --accept-shrink"),
    ]  # fmt: skip


@pytest.mark.fault("H14")
def test_a_host_that_can_have_no_index_is_warned_and_told_why(tmp_path: Path) -> None:
    put(tmp_path / "etc/backup_exclude", "[x]y\n")

    assert found(places.can_be_scanned, a_scene(tmp_path, exclude=("[x]y",)))[0] == (
        "warning", "etc/backup_exclude:1: only rsync can decide [x]y: there can be no index, every push is a full one,"
                   " and neither REWRITE nor CHECK sees anything; if you can, write the line without [, \\, ***, //,"
                   " /./ and /../; or exclude the mount point itself",
    )  # fmt: skip


def test_a_copy_of_the_host_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.machine_id, "0123456789abcdef\n")
    scene.paths.installed.write_bytes(encode_installed(Installed(marks_of(scene.paths), "")))
    assert found(past.is_the_same_machine, scene) == [
        ("ok", f"this is machine {machine_of(scene.paths)}, by which a receiver tells it from a copy; ")
    ]
    put(scene.paths.machine_id, "fedcba9876543210\n")

    ((level, what),) = found(past.is_the_same_machine, scene)

    assert level == "fault" and "not the machine that was enrolled as us0" in what and "--new-identity" in what


def test_a_host_of_which_nobody_would_notice_a_copy_is_warned(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.machine_id, "0123456789abcdef\n")

    (level, what), _ = found(past.is_the_same_machine, scene)

    assert level == "warning" and what == (
        "state/installed.json is not there, so nobody would notice that this is a copy of the host; "
        "ebbtide-agent install writes down which machine this is, and its window"
    )


def test_so_is_a_user_who_may_not_read_which_machine_this_is() -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        scene = a_scene(Path(place))
        put(scene.paths.machine_id, "0123456789abcdef\n")
        scene.paths.machine_id.chmod(0)
        scene.paths.installed.write_bytes(encode_installed(Installed({}, "")))

        with without_root():
            ((level, what),) = found(past.is_the_same_machine, scene)

    assert level == "warning" and "so a receiver is not told which machine this is; run the agent as root" in what


def test_what_whoever_checks_may_not_look_at_is_said_so_and_not_called_missing() -> None:
    with TemporaryDirectory(prefix="ebbtide-checks-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        scene = a_scene(place)
        scene.paths.history.write_bytes(encode_report(A_REPORT))
        scene.paths.state.chmod(0)

        with without_root():
            found = [*find((past.is_free, past.was_good, past.clock_is_right), scene)]

        scene.paths.state.chmod(0o700)
    to_do = "check as who runs the agent: as root, or with --etc and --state of that user's own"
    assert found == [
        Finding("fault", f"this user may not look at {path}", to_do)
        for path in (scene.paths.running, scene.paths.history)
    ]


def test_so_is_one_that_nothing_tells_from_its_copies(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    scene.paths.installed.write_bytes(encode_installed(Installed({}, "")))

    ((level, what),) = found(past.is_the_same_machine, scene)

    assert level == "warning" and "systemd-machine-id-setup makes one" in what


def test_there_has_to_be_room_for_the_next_index_and_the_next_dumps(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.scripts / "10-dump", "#!/bin/sh\n", 0o755)
    (index, room), (dumps, room_for_dumps) = found(places.have_room, scene)
    assert (index, dumps) == ("ok", "ok")
    assert re.fullmatch(r"state can be written, \S+ \S+ are free; ", room)
    assert re.fullmatch(r"state/dumps has \S+ \S+ free for dumps of 0 \S+; ", room_for_dumps)

    for path in (scene.paths.index, put(scene.paths.dumps / "base.sql", "")):
        with path.open("wb") as file:
            # Larger than any disk, and nothing is written.
            file.truncate(1 << 43)

    (index, room), (dumps, room_for_dumps) = found(places.have_room, scene)
    assert (index, dumps) == ("fault", "fault")
    assert re.fullmatch(r"state has \S+ \S+ free, and the index may need 16384.0 GiB; make room there", room)
    beside = r"the dumps there are 8192.0 GiB, to be written anew beside them; make room there"
    assert re.fullmatch(rf"state/dumps has \S+ \S+ free, and {beside}", room_for_dumps)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_directory_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    scene.paths.state.chmod(0o500)

    assert found(places.have_room, scene) == [
        ("fault", "state cannot be written; run as root, and see that its file system is not read-only")
    ]


def test_a_backup_that_is_under_way_is_told_and_not_disturbed(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.lock, "")
    assert found(past.is_free, scene) == []

    with scene.paths.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ((level, what),) = found(past.is_free, scene)

    assert level == "warning"
    assert what == f"a backup is under way (process {os.getpid()}); nothing, if it is over before tonight"


def test_a_run_that_did_not_come_to_its_end_is_told(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.running, "2026-11-24T02:10:00Z")

    ((level, what),) = found(past.is_free, scene)

    assert level == "warning" and what == (
        "the run of 2026-11-24T02:10:00Z did not come to its end; see who stopped it, or why the machine went down"
    )


def a_report(finished: timedelta = timedelta(hours=9), told: timedelta = timedelta(), **changes: Any) -> Report:
    """A report that ended so long before now, and that the receiver had so much later."""
    assert A_REPORT.receiver
    ended = NOW - finished
    return replace(A_REPORT, finished=ended, receiver=replace(A_REPORT.receiver, received=ended + told), **changes)


@pytest.mark.parametrize(
    ("report", "level", "said"),
    [
        (None, "warning", "no night of this host has been reported yet; ebbtide-agent run, once the rest is in order"),
        (a_report(), "ok", "the last night ended 2026-11-24T03:00:00Z, complete; "),
        (
            a_report(timedelta(hours=37)),
            "warning",
            "the last night ended 2026-11-22T23:00:00Z, complete, and none since; "
            "see why nothing starts the agent, or what its log says",
        ),
        (
            a_report(status="partial", problems=("disk full", "more")),
            "warning",
            "the last night ended 2026-11-24T03:00:00Z, partial: disk full; "
            "ebbtide-agent status says all there is to it",
        ),
        (
            a_report(status="partial", problems=()),
            "warning",
            "the last night ended 2026-11-24T03:00:00Z, partial: it does not say why; "
            "ebbtide-agent status says all there is to it",
        ),
    ],
)
def test_how_the_last_night_ended_is_told(tmp_path: Path, report: "Report | None", level: str, said: str) -> None:
    scene = a_scene(tmp_path)
    if report:
        scene.paths.history.write_bytes(encode_report(report))

    assert found(past.was_good, scene) == [(level, said)]


def test_a_run_that_left_no_report_is_told(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    report = a_report()
    scene.paths.history.write_bytes(encode_report(report))
    scene.paths.lock.touch()
    note_begun(scene.paths.lock, report.started)
    assert levels(past.was_good, scene) == ["ok"]

    note_begun(scene.paths.lock, NOW)

    assert found(past.was_good, scene) == [
        ("warning", f"the run that began {moments.write(NOW)} left no report; the last that did was complete; "
                    "see what it said (journalctl -t ebbtide-agent, or cron's mail)"),
    ]  # fmt: skip


def the_clock(how: str) -> tuple[str, str]:
    return "warning", f"the clock {how}; set the clock, and see that something keeps it (timedatectl)"


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (None, []),
        (a_report(told=timedelta(seconds=30)), [("ok", "the clock agreed with the receiver's at the last report; ")]),
        (a_report(told=timedelta(minutes=-3)), [the_clock("was 0:03:00 ahead of the receiver's at the last report")]),
        (a_report(told=timedelta(hours=1)), [the_clock("was up to 1:00:00 behind the receiver's at the last report")]),
        (
            a_report(timedelta(hours=-5), timedelta()),
            [the_clock("is before 2026-11-24T17:00:00Z, when the receiver had the last report")],
        ),
    ],
    ids=["no report", "in time", "ahead", "behind", "set back since"],
)
def test_the_clock_is_held_against_the_receivers(
    tmp_path: Path, report: "Report | None", said: Sequence[tuple[str, str]]
) -> None:
    scene = a_scene(tmp_path)
    if report:
        scene.paths.history.write_bytes(encode_report(report))

    assert found(past.clock_is_right, scene) == said


def test_a_disk_that_fails_is_told_by_day_too(tmp_path: Path) -> None:
    mdstat = put(tmp_path / "mdstat", "md0 : active raid1 sdb1[1](F) sda1[0]\n      975296 blocks [2/1] [U_]\n")
    nothing = put(tmp_path / "mounts", "")
    scene = replace(a_scene(tmp_path), disks=Sources("no-smartctl", mdstat, nothing))

    ((level, what),) = found(disks.are_well, scene)

    assert level == "warning" and what.startswith("array md0: degraded: 1 of 2 members are there, sdb1 failed")
    assert what.endswith("; see to it while there is a backup")
    mdstat.write_text("")
    assert found(disks.are_well, scene) == [("ok", "disks, arrays and file systems warn of nothing; ")]


NOT_STARTED = (
    "fault",
    "nothing starts the agent: no entry of cron's, no timer of systemd's; "
    "ebbtide-agent install, which as somebody else than root prints the line for a crontab",
)
ENTRY = "10 2 * * * root ebbtide-agent run --progress none\n"


@pytest.mark.parametrize(
    "where",
    [
        "etc/crontab",
        "etc/cron.d/ebbtide",
        "etc/cron.daily/backup",
        "etc/cron.hourly/backup",
        "var/spool/cron/crontabs/an.operator",
    ],
)
def test_an_entry_of_cron_starts_the_agent(tmp_path: Path, where: str) -> None:
    scene = a_scene(tmp_path)
    running(tmp_path, "systemd", "cron")
    put(tmp_path / where, f"# mine\n{ENTRY}")

    assert found(schedule.is_started, scene) == [("ok", f"started by {tmp_path}/{where}; ".replace(f"{tmp_path}/", ""))]


def running(system: Path, *names: str) -> None:
    """These processes, and no others."""
    for number, name in enumerate(names, 1):
        put(system / f"proc/{number}/comm", f"{name}\n")


@pytest.mark.parametrize("name", ["cron", "crond"])
def test_an_entry_that_no_cron_reads_starts_nothing(tmp_path: Path, name: str) -> None:
    scene = a_scene(tmp_path)
    put(tmp_path / "etc/cron.d/ebbtide-agent", ENTRY)
    running(tmp_path, "systemd", "sshd")

    alone = found(schedule.is_started, scene)
    running(tmp_path, "systemd", "sshd", name)
    with_cron = levels(schedule.is_started, scene)

    to_do = "install and start one (apt install cron); or, where systemd is in charge, ebbtide-agent install"
    said = "etc/cron.d/ebbtide-agent is there, and no cron runs that would read it"
    assert (alone, with_cron) == ([("fault", f"{said}; {to_do}")], ["ok"])


def test_systemd_may_read_what_is_crons_and_a_user_may_see_no_process_of_others(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    put(tmp_path / "etc/cron.d/ebbtide-agent", ENTRY)

    put(tmp_path / "proc/4711/comm", "bash\n")
    hidden = levels(schedule.is_started, scene)
    running(tmp_path, "systemd")
    put(tmp_path / "run/systemd/generator/cron-ebbtide-agent-root-0.timer", "[Timer]\n")

    assert (hidden, levels(schedule.is_started, scene)) == (["ok"], ["ok"])


def test_a_line_of_ones_own_crontab_starts_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, crontab = a_scene(tmp_path), put(tmp_path / "bin/crontab", f"#!/bin/sh\necho '{ENTRY}'\n", 0o755)
    monkeypatch.setenv("PATH", str(crontab.parent), prepend=":")

    assert found(schedule.is_started, scene) == [("ok", "started by our crontab (crontab -l); ")]
    put(crontab, "#!/bin/sh\necho no crontab for you >&2; exit 1\n", 0o755)
    assert found(schedule.is_started, scene) == [NOT_STARTED]


@pytest.mark.parametrize("where", ["etc/systemd/system", "usr/lib/systemd/system"])
def test_a_timer_that_is_enabled_starts_the_agent(tmp_path: Path, where: str) -> None:
    scene = a_scene(tmp_path)
    timer = put(tmp_path / where / "ebbtide-agent.timer", "[Timer]\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert levels(schedule.is_started, scene) == ["fault"]

    (timer.parent / "timers.target.wants").mkdir()
    (timer.parent / "timers.target.wants/ebbtide-agent.timer").symlink_to(timer)

    started = f"started by {where}/timers.target.wants/ebbtide-agent.timer; "
    assert found(schedule.is_started, scene) == [("ok", started)]


def test_a_timer_that_is_masked_or_that_no_systemd_knows_starts_nothing(tmp_path: Path) -> None:
    scene = a_scene(tmp_path)
    timer = put(tmp_path / "etc/systemd/system/ebbtide-agent.timer", "[Timer]\n")
    wanted = timer.parent / "timers.target.wants/ebbtide-agent.timer"
    wanted.parent.mkdir()
    wanted.symlink_to(timer)

    without_systemd = found(schedule.is_started, scene)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    timer.unlink()
    timer.symlink_to("/dev/null")

    said = "etc/systemd/system/timers.target.wants/ebbtide-agent.timer is there, and no systemd is in charge"
    assert without_systemd == [("fault", f"{said} that would start it; ebbtide-agent install")]
    assert found(schedule.is_started, scene) == [NOT_STARTED]


@pytest.mark.parametrize("masked", ["ebbtide-agent.timer", "ebbtide-agent.service"])
def test_a_packages_timer_starts_nothing_if_it_or_its_service_is_masked(tmp_path: Path, masked: str) -> None:
    scene = a_scene(tmp_path)
    timer = put(tmp_path / "usr/lib/systemd/system/ebbtide-agent.timer", "[Timer]\n")
    wanted = tmp_path / "etc/systemd/system/timers.target.wants/ebbtide-agent.timer"
    wanted.parent.mkdir(parents=True)
    wanted.symlink_to(timer)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    before = levels(schedule.is_started, scene)

    (tmp_path / "etc/systemd/system" / masked).symlink_to("/dev/null")

    assert before == ["ok"]
    assert found(schedule.is_started, scene) == [NOT_STARTED]


@pytest.mark.parametrize(
    ("name", "text", "mode", "said"),
    [
        ("etc/cron.d/ebbtide", f"#{ENTRY}", 0o644, NOT_STARTED[1]),
        (
            "etc/cron.d/ebbtide.conf",
            ENTRY,
            0o644,
            "etc/cron.d/ebbtide.conf: cron reads no file with such a name; let it have letters, digits, _ and - only",
        ),
        (
            "etc/cron.d/ebbtide",
            ENTRY,
            0o664,
            "etc/cron.d/ebbtide: cron reads no file that others than root can write; "
            "chown root etc/cron.d/ebbtide; chmod 644 etc/cron.d/ebbtide",
        ),
        (
            "etc/cron.d/ebbtide",
            ENTRY.strip(),
            0o644,
            "etc/cron.d/ebbtide: cron does not read a last line without an end; end it with a newline",
        ),
    ],
)
def test_what_cron_would_pass_over_in_silence_is_a_fault(
    tmp_path: Path, name: str, text: str, mode: int, said: str
) -> None:
    scene = a_scene(tmp_path)
    put(tmp_path / name, text, mode)

    assert found(schedule.is_started, scene) == [("fault", said)]


@contextmanager
def an_sshd(place: Path) -> Iterator[tuple[int, str]]:
    """An sshd on loopback until the end of the block: its port, and its public host key."""
    key = a_key(place / "host-key")
    config = put(place / "sshd_config", f"HostKey {key}\nUsePAM no\nPidFile none\n")
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listening, config), daemon=True).start()
    try:
        yield listening.getsockname()[1], key.with_suffix(".pub").read_text().strip()
    finally:
        listening.close()


def _serve(listening: socket.socket, config: Path) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            words = ["/usr/sbin/sshd", "-i", "-f", str(config)]
            subprocess.run(words, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)


@needs_sshd
def test_who_answers_is_held_against_the_pinned_key(tmp_path: Path) -> None:
    with an_sshd(tmp_path) as (port, public):
        scene = a_scene(tmp_path, target=Receiver("localhost", port))
        put(scene.config.known_hosts, f"localhost {public}\n")
        right = found(far_side.answers_as_it_should, scene)
        another = a_key(tmp_path / "another").with_suffix(".pub").read_text()
        put(scene.config.known_hosts, f"localhost {another}")
        wrong = found(far_side.answers_as_it_should, scene)
        remote = a_scene(tmp_path, target=Remote("us0", "localhost", port, "backup"))
        told_of_another = found(far_side.answers_as_it_should, remote)
        put(scene.config.known_hosts, "")
        of_nobody = found(far_side.answers_as_it_should, remote)

        assert right == [("ok", "localhost (127.0.0.1) answers with the host key that is pinned; ")]
        another_answers = "localhost (127.0.0.1) answers with another host key than is pinned; nothing is sent to it"
        in_its_window = "if that is so in its window too, correct etc/known_hosts"
        assert wrong == [("warning", f"{another_answers}; {in_its_window}")]
        ask = "ask its operator for the host key, and correct etc/known_hosts"
        assert told_of_another == [("fault", f"{another_answers}; {ask}")]
        assert of_nobody == [("ok", f"localhost (127.0.0.1) answers on port {port}; ")]


# The second is no address at all, and no name server is asked for it.
@needs_ssh
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("localhost", r"localhost \(127\.0\.0\.1\) does not answer on port \d+"),
        ("fe80::1%no-such-interface", "fe80::1%no-such-interface has no address: .+"),
    ],
)
def test_a_receiver_that_is_not_up_is_in_order_once_it_has_answered_and_another_machine_is_not(
    tmp_path: Path, name: str, how: str
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        scene = a_scene(tmp_path, target=Receiver(name, port))
        remote = a_scene(tmp_path, target=Remote("us0", name, port, "backup"))

        never, of_another = (found(far_side.answers_as_it_should, each)[0] for each in (scene, remote))
        scene.paths.history.write_bytes(encode_report(a_report()))
        (once,) = found(far_side.answers_as_it_should, scene)

        assert (never[0], once[0], of_another[0]) == ("warning", "ok", "fault")
        to_do = (
            "if that is so in its window too: compare TARGET with the policy's name, and this address with its allow"
        )
        assert re.fullmatch(f"{how}, and never has; {to_do}", never[1])
        up = f"it is up for its window only, the last time for the run {A_REPORT.run}; "
        assert re.fullmatch(f"{how}: {up}", once[1])
        assert re.fullmatch(f"{how}; see that the machine is up, and that this host may reach it", of_another[1])


def test_all_is_told_and_the_exit_code_is_the_configurations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = a_scene(tmp_path)
    words = ["check", "--etc", str(scene.paths.etc), "--state", str(scene.paths.state)]
    put(scene.paths.config, f"HOST=us0\nTARGET={tmp_path}/backup\nKEEP=7\nROOT={tmp_path}/root\nRSYNC=no-such-rsync\n")

    code = main(words)
    lines = capsys.readouterr().out.splitlines()
    main([*words, "--json"])
    told = json.loads(capsys.readouterr().out)

    assert code == 78
    assert f"ok       configuration: us0 is backed up to {tmp_path}/backup" in lines
    assert [line for line in lines if line.startswith("fault    RSYNC no-such-rsync")]
    assert [Finding(**each).level for each in told] == [line.split()[0] for line in lines]


def test_what_cannot_be_looked_at_is_a_fault_and_the_rest_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = a_scene(tmp_path)
    (tmp_path / "backup").mkdir()
    put(scene.paths.config, f"HOST=us0\nTARGET={tmp_path}/backup\nKEEP=7\nROOT={tmp_path}/gone\n")

    code = main(["check", "--etc", str(scene.paths.etc), "--state", str(scene.paths.state)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 78
    gone = [line for line in lines if line.startswith("fault ") and "gone" in line and "No such file" in line]
    assert gone == [f"fault    {tmp_path}/gone: No such file or directory; mend it, and check again"]
    correct = f"mount or restore it, or correct ROOT in {scene.paths.config}"
    assert f"fault    ROOT {tmp_path}/gone is not a directory with anything in it; {correct}" in lines
    assert lines[-1].startswith("warning  no night of this host")


def test_faults_of_the_configuration_are_told_alone_and_all_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = a_scene(tmp_path)
    put(scene.paths.config, "HOST=us 0\nKEEP=x\n")

    code = main(["check", "--etc", str(scene.paths.etc), "--state", str(scene.paths.state)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 78
    assert len(lines) == 3 and all(line.startswith("fault    ") for line in lines)
    assert all(line.endswith("; correct it, and check again") for line in lines)


def test_no_check_changes_anything(tmp_path: Path) -> None:
    scene = a_scene(tmp_path, target=Directory(tmp_path / "backup"))
    put(scene.paths.scripts / "10-dump", "#!/bin/sh\n", 0o755)
    before = everything_below(tmp_path)

    said = [found(look, scene) for look in CHECKS]

    assert any(said)
    assert everything_below(tmp_path) == before
