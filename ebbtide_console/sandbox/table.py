"""The night's last page: one row a host, from what was sent to how long it took to get it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class HostNight:
    """What the table says of one host. Sizes are bytes, times are seconds."""

    host: str
    status: str
    files: int | None
    bytes_sent: int | None
    seconds: float | None
    snapshot: str | None
    restore_point: str | None
    verdict: str
    seconds_to_restore: float | None


COLUMNS = ("host", "status", "files", "sent", "took", "snapshot", "restore point", "drill", "time to restore")


def show(rows: Sequence[HostNight], console: Console) -> None:
    """Print the table."""
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(
            row.host,
            row.status,
            _or_dash(row.files, "{:,}".format),
            _or_dash(row.bytes_sent, size),
            _or_dash(row.seconds, seconds),
            row.snapshot or "-",
            row.restore_point or "-",
            row.verdict,
            _or_dash(row.seconds_to_restore, seconds),
        )
    console.print()
    console.print(table)


def size(count: float) -> str:
    """Bytes in binary units: `129.3 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def seconds(value: float) -> str:
    """A duration: `8.3 s`, `2 min 05 s`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def _or_dash(value: float | None, spell: Callable[[float], str]) -> str:
    return "-" if value is None else spell(value)
