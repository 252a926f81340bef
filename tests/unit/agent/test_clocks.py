"""A host's clock beside its receiver's."""

import ctypes
import struct
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ebbtide_agent.host import timekeeping
from ebbtide_agent.host.link import World
from ebbtide_agent.host.night import remarks_on_clocks, seconds_to_scan
from ebbtide_agent.report import parse_hello

HELLO = parse_hello((Path(__file__).parents[2] / "contract/wire/hello.json").read_bytes())


@pytest.mark.fault("H8")
@pytest.mark.parametrize(
    ("off", "said"),
    [
        (timedelta(seconds=59), []),
        (timedelta(days=1), ["86400 s ahead of"]),
        (timedelta(minutes=-2), ["120 s behind"]),
    ],
)
def test_a_clock_that_is_off_is_a_warning(off: timedelta, said: list[str]) -> None:
    assert HELLO.now

    remarks = remarks_on_clocks(HELLO, HELLO.now + off)

    assert [remark.problem.split(" the receiver's")[0].split("clock is ")[1] for remark in remarks] == said
    assert {remark.status for remark in remarks} <= {"complete-with-warnings"}


def test_a_receiver_that_says_no_time_is_no_clock_to_compare_with() -> None:
    assert HELLO.now and remarks_on_clocks(replace(HELLO, now=None), HELLO.now) == ()


def test_a_scan_may_take_half_of_what_is_left_and_where_nobody_tells_the_time_as_long_as_it_does() -> None:
    world = World(lambda: HELLO.deadline - timedelta(seconds=30))

    assert seconds_to_scan(HELLO, world) == 15
    assert seconds_to_scan(replace(HELLO, now=None), world) is None


def test_whether_the_clock_is_kept_right_is_what_the_kernel_has_been_told() -> None:
    asked = ctypes.create_string_buffer(512)
    assert ctypes.CDLL(None).adjtimex(asked) >= 0
    # struct timex: the modes, four longs, and then the status; STA_UNSYNC and STA_CLOCKERR are among its bits.
    (status,) = struct.unpack_from("i", asked, struct.calcsize("@I4l"))

    assert timekeeping.is_kept() == (not status & (0x0040 | 0x1000))
