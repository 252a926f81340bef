"""The last nights are kept, each once, and no more than are looked at."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ebbtide_agent.host.history import MOST_NIGHTS, find_nights, remember
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Report, parse_report
from tests.unit.agent.test_survey import A_REPORT


def a_night(number: int) -> Report:
    return replace(A_REPORT, run=f"main/{number}/1", started=A_REPORT.started + timedelta(days=number))


def no_word(line: str) -> None:
    raise AssertionError(line)


def test_a_night_that_is_recorded_takes_the_place_of_its_own_report(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path, tmp_path)

    remember(paths, a_night(1), no_word)
    to_the_microsecond = a_night(2).started.replace(microsecond=7)
    remember(paths, replace(a_night(2), run="local", started=to_the_microsecond, receiver=None), no_word)
    remember(paths, a_night(2), no_word)

    assert find_nights(paths) == [a_night(1), a_night(2)]
    assert parse_report(paths.last_report.read_bytes()) == a_night(2)


def test_the_oldest_go(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path, tmp_path)

    for number in range(MOST_NIGHTS + 3):
        remember(paths, a_night(number), no_word)

    assert [night.run for night in find_nights(paths)] == [f"main/{n}/1" for n in range(3, MOST_NIGHTS + 3)]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path, tmp_path)
    remember(paths, a_night(1), no_word)
    with paths.history.open("ab") as file:
        file.write(b'{"schema": 9}\nhalf a li')

    remember(paths, a_night(2), no_word)

    assert find_nights(paths) == [a_night(1), a_night(2)]


def test_before_the_first_night_there_is_none(tmp_path: Path) -> None:
    assert find_nights(HostPaths(tmp_path, tmp_path)) == []


def test_where_nothing_can_be_kept_that_is_said_and_the_night_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []

    remember(HostPaths(tmp_path, tmp_path / "file"), a_night(1), said.append)

    assert len(said) == 1 and said[0].startswith("the report was not kept on this host")
