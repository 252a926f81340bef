"""The night's table: whatever its words, a host is one line."""

import io

from rich.console import Console

from chalicelib.core.model import HostStatus
from ebbtide_console.cli.sandbox import WIDTH
from ebbtide_console.sandbox.table import HostNight, show


def a_row(host: str, status: str, verdict: str = "proven, identical") -> HostNight:
    return HostNight(
        host, status, 1_234_567, 10**12, 75.2, "snap-0123456789abcdef0", "2026-11-23 02:00:00", verdict, 61
    )


def test_every_host_is_one_line_with_all_its_cells() -> None:
    printed = io.StringIO()
    rows = [a_row("us0", status, "as recorded, identical, not booted") for status in HostStatus]

    show(rows, Console(file=printed, width=WIDTH))

    _, header, *lines = printed.getvalue().splitlines()
    assert header.split()[:2] == ["host", "status"]
    assert [line.split()[1] for line in lines] == [status.value for status in HostStatus]
    assert all(line.rstrip().endswith("as recorded, identical, not booted  1 min 01 s") for line in lines)


def test_what_did_not_happen_is_a_dash() -> None:
    printed = io.StringIO()

    show(
        [HostNight("us0", "missing", None, None, None, None, None, "no restore point", None)],
        Console(file=printed, width=WIDTH),
    )

    assert " ".join(printed.getvalue().splitlines()[-1].split()) == "us0 missing - - - - - no restore point -"
