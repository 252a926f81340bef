"""The scan ahead: what was found while the target was asked counts for two minutes, and leaves no process behind."""

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.host import survey
from ebbtide_agent.host.ahead import FRESH, scanning
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.test_course import A_CONFIG

A_SECOND = timedelta(seconds=1)


class Host:
    """A tree with one file in it, and a clock that is given."""

    def __init__(self, place: Path) -> None:
        self.tree = place / "tree"
        self.tree.mkdir()
        (self.tree / "first").touch()
        self.config: Config = replace(A_CONFIG, root=self.tree)
        self.paths = HostPaths(place / "etc", place / "state")
        self.now = datetime.now(UTC) + timedelta(hours=1)

    def clock(self) -> datetime:
        return self.now


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def processes() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("later", [timedelta(0), FRESH], ids=["at once", "within two minutes"])
def test_a_scan_that_is_fresh_is_the_one_that_was_begun(host: Host, later: timedelta) -> None:
    begun = host.now

    with scanning(host.config, host.paths, host.clock) as scanned:
        host.now += later
        found = scanned()

    assert timedelta(minutes=2) == FRESH
    assert found.at == begun


def test_one_older_than_two_minutes_is_done_anew(host: Host) -> None:
    with scanning(host.config, host.paths, host.clock) as scanned:
        (host.tree / "second").touch()
        host.now += FRESH + A_SECOND
        found = scanned()

    assert found.at == host.now
    assert found.tally and found.tally.entries == 3


def test_one_that_was_had_already_is_done_anew(host: Host) -> None:
    with scanning(host.config, host.paths, host.clock) as scanned:
        scanned()
        (host.tree / "second").touch()
        host.now += A_SECOND
        found = scanned()

    assert found.at == host.now
    assert found.tally and found.tally.entries == 3


def test_one_from_before_the_clock_was_set_back_is_done_anew(host: Host) -> None:
    with scanning(host.config, host.paths, host.clock) as scanned:
        host.now -= FRESH + A_SECOND
        assert scanned().at == host.now


def test_one_that_somebody_ended_is_done_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    here, scanned_before = os.getpid(), survey.scanned

    def scanned(config: Config, paths: HostPaths, now: datetime) -> Survey:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return scanned_before(config, paths, now)

    monkeypatch.setattr(survey, "scanned", scanned)
    with scanning(host.config, host.paths, host.clock) as get:
        found = get()

    assert found.tally and found.tally.entries == 2


def test_nothing_of_it_goes_on_when_nobody_waits_any_more(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*_: object) -> None:
        time.sleep(20)
        (tmp_path / "through").touch()

    before = processes()
    monkeypatch.setattr(survey, "scanned", slowly)

    with scanning(host.config, host.paths, host.clock):
        (scan,) = processes() - before

    assert not Path(f"/proc/{scan}").exists()
    assert not (tmp_path / "through").exists()


def test_one_that_is_too_old_is_ended_before_another_begins(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before, at_work = processes(), []
    scanned_before = survey.scanned

    def scanned(config: Config, paths: HostPaths, now: datetime) -> Survey:
        at_work.append(processes() - before)
        return scanned_before(config, paths, now)

    with scanning(host.config, host.paths, host.clock) as get:
        monkeypatch.setattr(survey, "scanned", scanned)
        host.now += FRESH + A_SECOND
        get()

    assert at_work == [set()]
