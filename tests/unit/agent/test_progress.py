"""Progress out of rsync's output, however the pipe cuts it."""

import io

import pytest

from ebbtide_agent.host.progress import Progress, Reader, as_bar, as_lines

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
    reader = Reader(as_bar(screen))

    reader.feed(SAID)
    reader.feed(b"\r    31,457,280  68%   12.34MB/s    0:00:04  \r")

    first, _, last = screen.getvalue().lstrip("\r").split("\r")
    assert first.split() == ["[" + "." * 30 + "]", "0%", "0", "files", "32", "KiB", "0.00kB/s", "0:00:00", "left"]
    assert last.split()[2:] == ["7", "files", "30", "MiB", "12.34MB/s", "0:00:04", "left"]
    assert "\n" not in screen.getvalue()
