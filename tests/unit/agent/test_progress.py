"""Progress out of rsync's output, however the pipe cuts it."""

import io
import os
import termios

import pytest

from ebbtide_agent.host.progress import Progress, Reader, as_lines, shown_on

SAID = (
    b"\r         32,768   0%    0.00kB/s    0:00:00  \r    20,971,520  45%   12.34MB/s    0:00:01 (xfr#7, ir-chk=1/9)\n"
)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_it_is_read_from_pieces_of_any_size(piece: int) -> None:
    seen: list[Progress] = []
    reader = Reader(seen.append)

    for start in range(0, len(SAID), piece):
        reader.feed(SAID[start : start + piece])

    assert seen == [Progress(32768, 0, "0.00kB/s", None, "0:00:00"), Progress(20971520, 45, "12.34MB/s", 7, None)]


def test_statistics_are_no_progress() -> None:
    seen: list[Progress] = []

    Reader(seen.append).feed(b"Number of files: 54 (reg: 33)\nsent 45 bytes  100% sure\n")

    assert seen == []


def test_a_log_gets_a_line_for_every_tenth() -> None:
    screen = io.StringIO()
    show = as_lines(screen)

    for percent in (0, 3, 9, 10, 11, 57, 57, 100):
        show(Progress(percent * 1024, percent, "1.00MB/s", 0, None))

    assert [line.split("%")[0].strip() for line in screen.getvalue().splitlines()] == ["0", "10", "57", "100"]


def test_a_bar_shows_files_bytes_rate_and_the_time_left_over_and_over_on_one_line() -> None:
    screen = io.StringIO()

    with shown_on(screen, "bar") as show:
        reader = Reader(show)
        reader.feed(SAID)
        reader.feed(b"\r    31,457,280  68%   12.34MB/s    0:00:04  \r")
        reader.feed(b"\r    41,943,040 100%   12.34MB/s    0:00:05 (xfr#9, to-chk=0/9)\n" * 3)

    first, _, third, *_, last = screen.getvalue().lstrip("\r").split("\r")
    assert first.split() == ["[" + "." * 29 + "]", "0%", "0", "files", "32", "KiB", "0.00kB/s", "0:00:00", "left"]
    assert third.split()[2:] == ["7", "files", "30", "MiB", "12.34MB/s", "0:00:04", "left"]
    assert screen.getvalue().count("\n") == 1 and last.endswith("\n")


@pytest.mark.parametrize("width", [80, 60, 20, 0])
def test_it_stays_within_the_width_of_its_terminal(width: int) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, width))

    said = b""
    with open(theirs, "w") as screen:
        with shown_on(screen, "bar") as show:
            for percent, files, left in ((0, None, "0:00:00"), (99, 1234567, None), (100, None, "100:00:00")):
                show(Progress(1023 << 30, percent, "999.99MB/s", files, left))
        while not said.endswith(b"\n"):
            said += os.read(ours, 4096)
    os.close(ours)
    drawn = said.decode().rstrip("\r\n").lstrip("\r").split("\r")

    assert len(drawn) == 3
    assert max(map(len, drawn)) < (width or 80)
    assert ("[" in drawn[0]) is (width in (80, 0))
