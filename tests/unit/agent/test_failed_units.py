"""Which of a booted image's units are told to have failed, whatever the image says."""

from collections.abc import Sequence

import pytest

from ebbtide_agent import procs
from ebbtide_agent.restore import failed
from ebbtide_agent.restore.failed import failed_units

LINE = "{} loaded failed failed A service\n"


def an_image_that_says(monkeypatch: pytest.MonkeyPatch, listed: str, code: int = 0, said: bytes = b"") -> None:
    def run_within(leader: int, words: Sequence[str], limit: float) -> procs.Ended:
        is_list = words[0] == "systemctl"
        out, err = (listed.encode(), b"") if is_list and code == 0 else (said, listed.encode())
        return procs.Ended(tuple(words), code if is_list else 0, out, err, 0.1)

    monkeypatch.setattr(failed, "run_within", run_within)


def test_a_handful_of_the_failed_units_is_told_and_how_many_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    units = [f"job{number}.service" for number in range(8)]
    an_image_that_says(monkeypatch, "".join(map(LINE.format, units)), said=b"no such user\n")

    assert failed_units(42) == (
        *(f"`{unit}` has failed: no such user" for unit in units[:5]),
        "and 3 more of its units have failed",
    )


def test_where_nothing_has_failed_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    an_image_that_says(monkeypatch, "")

    assert failed_units(42) == ()


def test_that_it_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    an_image_that_says(monkeypatch, "systemctl: not found in the image", code=127)

    assert failed_units(42) == ("which of its units have failed is not known: systemctl: not found in the image",)


def test_what_an_image_calls_its_units_and_says_of_them_is_fit_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    an_image_that_says(monkeypatch, LINE.format("a\x1b[2J.service"), said=b"\x1b]0;gone\x07\n")

    assert failed_units(42) == (r"`a\x1b[2J.service` has failed: \x1b]0;gone\x07",)


def test_whoever_waits_to_be_told_waits_for_no_image_that_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limits = [0.0], list[float]()

    def run_within(leader: int, words: Sequence[str], limit: float) -> procs.Ended:
        limits.append(limit)
        if words[0] == "systemctl":
            return procs.Ended(
                tuple(words), 0, "".join(LINE.format(f"{each}.service") for each in range(9)).encode(), b"", 0.1
            )
        clock[0] += limit
        return procs.Ended(tuple(words), procs.TIMED_OUT, b"", b"", limit, timed_out=True)

    monkeypatch.setattr(failed, "run_within", run_within)
    monkeypatch.setattr(failed.time, "monotonic", lambda: clock[0])

    assert failed_units(42)[0] == "`0.service` has failed: what it said last is not known"
    assert limits == [20.0, 20.0, 1.0, 1.0, 1.0, 1.0]
