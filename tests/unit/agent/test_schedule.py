"""The minute at which a host starts: its own, the same every night, with half the window left to finish in."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbtide_agent.host.schedule import (
    DAY_MINUTES,
    SERVICE,
    SHORTEST_MINUTES,
    TIMER,
    Window,
    cron,
    crontab_line,
    minute_of,
    parse_window,
    service,
    timer,
)
from ebbtide_agent.restore.masked import MASKED

names = st.text("us0-.é", max_size=9)
minutes_of_a_day = st.integers(0, DAY_MINUTES - 1)
windows = st.builds(Window, minutes_of_a_day, minutes_of_a_day).filter(
    lambda window: window.minutes >= SHORTEST_MINUTES
)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@given(windows, names, names)
def test_it_lies_in_the_first_half_of_the_window_and_is_the_same_every_night(
    window: Window, host: str, machine: str
) -> None:
    minute = minute_of(window, host, machine)

    assert 0 <= minute < DAY_MINUTES
    assert (minute - window.start) % DAY_MINUTES < window.minutes // 2
    assert minute_of(window, host, machine) == minute


@settings(max_examples=30)
@given(windows.filter(lambda window: window.minutes <= 600))
def test_a_thousand_hosts_spread_evenly(window: Window) -> None:
    """Each minute is as likely: none gets more than three times its share, five standard deviations and more."""
    choices = window.minutes // 2

    counts = Counter(minute_of(window, f"us{number}", "machine") for number in range(40 * choices))

    assert len(counts) == choices
    assert max(counts.values()) <= 3 * 40


def test_two_machines_with_one_name_start_at_minutes_of_their_own() -> None:
    window = parse_window("02:00-06:00")

    minutes = {minute_of(window, "localhost", f"machine-{number}") for number in range(50)}

    assert len(minutes) > 20


@pytest.mark.parametrize(("text", "minutes"), [("02:00-06:00", 240), ("23:30-00:30", 60), ("00:00-23:59", 1439)])
def test_a_window_is_read_over_midnight_too(text: str, minutes: int) -> None:
    assert parse_window(text).minutes == minutes


@pytest.mark.parametrize(
    "text", ["", "2:00-6:00", "02:00", "24:00-06:00", "02:00-02:29", "02:00-02:00", "02:00-06:00 "]
)
def test_what_is_no_window_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"local times|at least 30"):
        parse_window(text)


def test_cron_has_it_look_at_its_minute_of_each_hour_as_root_and_only_while_it_is_there() -> None:
    last = cron(150, "/usr/bin/ebbtide-agent").splitlines()[-1]

    started = "/usr/bin/ebbtide-agent run --catch-up --progress none"
    assert last == f"30 * * * * root [ -x /usr/bin/ebbtide-agent ] && {started}"


def test_a_users_own_line_says_where_his_files_are() -> None:
    line = crontab_line(0, "/home/a b/agent", ["--etc", "/home/a b/etc"])

    assert line == "0 * * * * '/home/a b/agent' run --catch-up --progress none --etc '/home/a b/etc'"


@needs_systemd
def test_systemd_takes_the_timer_and_the_service(tmp_path: Path) -> None:
    (tmp_path / SERVICE).write_text(service("/bin/true"))
    (tmp_path / TIMER).write_text(timer(1439))

    units = [str(tmp_path / name) for name in (SERVICE, TIMER)]
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)

    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    assert "OnCalendar=*-*-* *:59:00\n" in timer(1439)


@needs_systemd
@pytest.mark.parametrize(
    ("zone", "looks"),
    [("Europe/London", ["00:30", "02:30", "03:30"]), ("Europe/Berlin", ["00:30", "01:30", "03:30"])],
)
def test_systemd_has_it_look_in_the_night_that_skips_its_minute_too(zone: str, looks: list[str]) -> None:
    (calendar,) = re.findall(r"OnCalendar=(.*)", timer(90))

    words = ["systemd-analyze", "calendar", calendar, "--base-time=2026-03-28 23:45", "--iterations=3"]
    said = subprocess.run(words, capture_output=True, text=True, env={"TZ": zone, "PATH": os.environ["PATH"]})

    assert said.returncode == 0, said.stderr
    assert re.findall(r"2026-03-29 (\d\d:\d\d):00 (?!UTC)[A-Z]+$", said.stdout, re.MULTILINE) == looks


@pytest.mark.fault("O6")
def test_a_restored_image_is_booted_with_all_masked_that_could_start_it() -> None:
    assert {SERVICE, TIMER, "cron.service", "crond.service"} <= set(MASKED)
