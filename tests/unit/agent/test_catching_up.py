"""`run --catch-up`, as cron and systemd start it each hour: a night that is due is begun, and begun once."""

import contextlib
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ebbtide_agent import moments
from ebbtide_agent.errors import ConfigError, PermanentError
from ebbtide_agent.host import night, standing
from ebbtide_agent.host.catching_up import GIVEN_UP, Decision, decide
from ebbtide_agent.host.due import LONG
from ebbtide_agent.host.identity import Installed, encode_installed
from ebbtide_agent.host.link import World
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.mark import find_begun, marked, note_begun
from ebbtide_agent.host_main import main
from ebbtide_agent.paths import HostPaths

BERLIN = ZoneInfo("Europe/Berlin")
LAST_NIGHT, TONIGHT = datetime(2026, 11, 22, 2, 30, tzinfo=BERLIN), datetime(2026, 11, 23, 2, 30, tzinfo=BERLIN)
MORNING = datetime(2026, 11, 23, 9, 0, tzinfo=BERLIN)


@dataclass
class Host:
    """us0, installed a week ago for nights at 02:30, in Berlin, on a machine that was started long before."""

    paths: HostPaths

    def __post_init__(self) -> None:
        self.paths.etc.mkdir()
        self.paths.state.mkdir()
        self.configure("/backup")
        self.install(minute=150)
        self.booted(LAST_NIGHT - timedelta(days=90))

    def configure(self, target: str) -> None:
        self.paths.config.write_text(f"HOST=us0\nTARGET={target}\nKEEP=7\n")

    def install(self, minute: int | None) -> None:
        self.paths.installed.write_bytes(encode_installed(Installed({}, "02:00-06:00", minute)))
        week_ago = (LAST_NIGHT - timedelta(days=7)).timestamp()
        os.utime(self.paths.installed, (week_ago, week_ago))

    def booted(self, when: datetime) -> None:
        self.paths.kernel.write_text(f"cpu  1 2 3\nbtime {int(when.timestamp())}\nprocesses 7\n")

    def begun(self, when: datetime) -> None:
        with locked(self.paths.lock):
            note_begun(self.paths.lock, when)

    def has_a_night(self, now: datetime) -> bool:
        return decide(self.paths, now.astimezone(UTC)).is_due


@pytest.fixture
def host(tmp_path: Path) -> Host:
    zones = (Path("/usr/share/zoneinfo/Europe/Berlin"), Path(_in_a_package("tzdata")) / "zoneinfo/Europe/Berlin")
    zone = next((path for path in zones if path.exists()), None)
    if zone is None:
        pytest.skip("this machine has no time zones")
    return Host(HostPaths(tmp_path / "etc", tmp_path / "state", local_time=zone, kernel=tmp_path / "stat"))


def _in_a_package(name: str) -> str:
    from importlib.util import find_spec

    found = find_spec(name)
    return str(Path(found.origin).parent) if found and found.origin else "/no/such/place"


def test_it_is_the_hosts_own_clock_that_says_when_it_is_time(host: Host) -> None:
    host.begun(LAST_NIGHT)

    assert not host.has_a_night(TONIGHT - timedelta(minutes=1))
    assert host.has_a_night(TONIGHT)


def test_a_night_that_was_slept_through_is_made_good_once(host: Host) -> None:
    host.begun(LAST_NIGHT)
    assert host.has_a_night(MORNING)

    host.begun(MORNING)

    assert not host.has_a_night(MORNING + timedelta(hours=1))


def test_a_receiver_that_is_gone_is_not_asked(host: Host) -> None:
    host.configure("receiver://backup.example.org")
    host.begun(LAST_NIGHT)

    assert host.has_a_night(TONIGHT + timedelta(hours=3))
    assert not host.has_a_night(MORNING)


def test_a_lock_of_the_same_number_on_another_file_system_keeps_no_night(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.begun(LAST_NIGHT)
    number = host.paths.lock.stat().st_ino
    (tmp_path / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE 1 fff:fffff:{number} 0 EOF\n")
    monkeypatch.setattr(standing, "_LOCKS", tmp_path / "locks")

    assert host.has_a_night(TONIGHT)


def test_while_a_night_is_under_way_there_is_no_other(host: Host) -> None:
    host.begun(LAST_NIGHT)

    with locked(host.paths.lock):
        assert not host.has_a_night(MORNING)


@pytest.mark.parametrize("off", [timedelta(seconds=-3), timedelta(seconds=3), timedelta(minutes=20)], ids=str)
def test_a_night_that_has_not_come_to_its_end_after_twelve_hours_is_told_of_at_one_look_a_day(
    host: Host, off: timedelta
) -> None:
    looks = [TONIGHT.astimezone(UTC) + timedelta(hours=hour) + off for hour in range(80)]
    host.begun(TONIGHT)

    with locked(host.paths.lock), marked(host.paths.running, TONIGHT.astimezone(UTC)):
        decisions = [decide(host.paths, look) for look in looks]

    told = [each.told for each in decisions if each.told]
    assert not any(each.is_due for each in decisions)
    assert [re.search(r"after (\d+) hours", each)[1] for each in told] == ["12", "36", "60"]
    assert all("began at 2026-11-23T01:30:00Z" in each and f"kill {os.getpid()}" in each for each in told)


def test_whoever_else_holds_the_lock_long_after_a_night_has_ended_is_no_night(host: Host) -> None:
    host.begun(TONIGHT)

    with locked(host.paths.lock):
        assert decide(host.paths, TONIGHT.astimezone(UTC) + LONG) == Decision(False)


def test_a_lock_that_something_else_than_a_night_was_the_first_to_hold_says_of_none(host: Host) -> None:
    with locked(host.paths.lock):
        pass

    assert find_begun(host.paths.lock) is None
    assert host.has_a_night(datetime.now(UTC).astimezone(BERLIN))


@pytest.mark.parametrize(("booted", "anew"), [(TONIGHT + timedelta(hours=1), True), (LAST_NIGHT, False)])
def test_a_night_whose_mark_is_left_is_begun_anew_if_the_machine_went_down(
    host: Host, booted: datetime, anew: bool
) -> None:
    host.begun(TONIGHT)
    host.paths.running.write_text(moments.write(TONIGHT))

    host.booted(booted)

    assert host.has_a_night(MORNING) == anew


def test_a_night_that_went_down_each_time_is_left_and_that_is_told_once(host: Host) -> None:
    begun = [TONIGHT + timedelta(hours=hour) for hour in range(3)]
    for when in begun:
        host.booted(when + timedelta(minutes=10))
        assert host.has_a_night(when)
        host.begun(when)
        with pytest.raises(SystemExit), marked(host.paths.running, when):
            raise SystemExit
    host.booted(begun[-1] + timedelta(minutes=10))

    told = [decide(host.paths, (MORNING + timedelta(hours=hour)).astimezone(UTC)).told for hour in range(3)]

    assert told == [GIVEN_UP, None, None]
    assert not host.has_a_night(MORNING)
    assert host.has_a_night(TONIGHT + timedelta(days=1))
    with marked(host.paths.running, TONIGHT + timedelta(days=1)) as remarks:
        assert moments.write(begun[-1]) in remarks[0].problem
    assert not host.paths.running.exists()


def test_a_mark_that_an_earlier_run_has_left_says_nothing_of_the_last_one(host: Host) -> None:
    host.begun(TONIGHT)
    host.paths.running.write_text(moments.write(LAST_NIGHT))
    host.booted(TONIGHT + timedelta(hours=1))

    assert not host.has_a_night(MORNING)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("HOST=\n")], ids=["missing", "faulty"])
def test_a_configuration_that_cannot_be_read_is_for_the_night_to_tell(
    host: Host, spoil: Callable[[Path], object]
) -> None:
    host.begun(LAST_NIGHT)
    spoil(host.paths.config)

    assert host.has_a_night(TONIGHT)
    assert not host.has_a_night(TONIGHT - timedelta(hours=1))


def test_the_schedule_of_an_earlier_agent_starts_a_night_each_time(host: Host) -> None:
    host.install(minute=None)
    host.begun(TONIGHT)

    assert host.has_a_night(TONIGHT + timedelta(seconds=1))


def test_where_what_install_wrote_down_is_lost_there_are_nights_all_the_same_and_that_is_told(host: Host) -> None:
    host.paths.installed.unlink()
    host.begun(LAST_NIGHT)

    before = decide(host.paths, (TONIGHT - timedelta(minutes=31)).astimezone(UTC))
    tonight = decide(host.paths, TONIGHT.astimezone(UTC))
    host.begun(TONIGHT)
    later = decide(host.paths, MORNING.astimezone(UTC))

    assert (before, later) == (Decision(False), Decision(False))
    assert tonight.is_due and str(host.paths.installed) in str(tonight.told)
    assert "ebbtide-agent install --window" in str(tonight.told)


def test_of_what_is_no_record_the_night_tells_and_not_each_hour(host: Host) -> None:
    host.paths.installed.write_text("{")
    host.begun(LAST_NIGHT)
    assert host.has_a_night(TONIGHT)

    with pytest.raises(PermanentError, match="remove it, and have it written anew: ebbtide-agent install"):
        night.run(night.Night(host.paths, World(lambda: TONIGHT.astimezone(UTC)), {}))

    assert not host.has_a_night(MORNING)


def test_what_has_no_time_zone_keeps_utc(host: Host) -> None:
    host.begun(LAST_NIGHT)
    paths = HostPaths(host.paths.etc, host.paths.state, local_time=Path("/no/such/file"), kernel=host.paths.kernel)

    assert not decide(paths, datetime(2026, 11, 22, 2, 0, tzinfo=UTC)).is_due
    assert decide(paths, datetime(2026, 11, 22, 2, 30, tzinfo=UTC)).is_due


def test_a_night_that_cannot_begin_is_told_once_and_not_every_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--etc", str(tmp_path / "etc"), "--state", str(tmp_path / "state")]
    (tmp_path / "etc").mkdir()
    assert main(["install", "--host", "us0", "--target", str(tmp_path / "backup"), *places]) == 0
    (tmp_path / "state/lock").touch()
    for of_long_ago in ("installed.json", "lock"):
        os.utime(tmp_path / "state" / of_long_ago, (0, 0))
    (tmp_path / "etc/backup_config").write_text("HOST=us0\n")
    capsys.readouterr()
    each_hour = ["run", "--catch-up", "--progress", "none", "--log", str(tmp_path / "no-log"), *places]

    first = main(each_hour), capsys.readouterr().err
    second = main(each_hour), capsys.readouterr()

    assert first[0] == ConfigError.exit_code and "TARGET" in first[1]
    assert second == (0, ("", ""))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"INVOCATION_ID": "1"}, True),
        ({"INVOCATION_ID": "1", "TRIGGER_UNIT": "ebbtide-agent.timer"}, False),
        ({}, False),
    ],
    ids=["systemctl start", "the timer", "cron"],
)
def test_whoever_starts_the_unit_when_nothing_is_due_reads_how_a_backup_is_begun(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    told: bool,
) -> None:
    for name in ("INVOCATION_ID", "TRIGGER_UNIT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    places = ["--etc", str(tmp_path / "etc"), "--state", str(tmp_path / "state")]
    (tmp_path / "etc").mkdir()
    assert main(["install", "--host", "us0", "--target", str(tmp_path / "backup"), *places]) == 0
    capsys.readouterr()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        log.setblocking(False)
        assert main(["run", "--catch-up", "--progress", "none", "--log", str(tmp_path / "log"), *places]) == 0
        heard = b""
        with contextlib.suppress(BlockingIOError):
            heard = log.recv(4096)

    assert (b"ebbtide-agent run begins one" in heard) == told
    assert capsys.readouterr() == ("", "")
