"""A pruning plan as a table: every snapshot, what becomes of it, for whom it stays, and the most it costs."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

# As it is, and as it would be.
WORDS = {
    "keep": ("kept", "keep"),
    "mark": ("marked", "mark"),
    "wait": ("waits", "wait"),
    "delete": ("deleted", "delete"),
}
MOST_HOSTS = 4
WIDTH = 1000  # a reason is one line, to grep and to cut, however long it is; a terminal wraps by itself


def show(answer: Mapping[str, Any], dry_run: bool, width: int = WIDTH) -> None:
    """Print the whole answer of `prune`: the table, what it comes to, and why it is refused, if it is."""
    console = Console(width=width, markup=False, highlight=False)
    table = Table("snapshot", "taken", "fate", "at most", "why it stays", box=None, pad_edge=False)
    for each in answer["plan"]:
        fate = WORDS[each["fate"]][dry_run]
        table.add_row(each["snapshot"], each["at"], fate, f"${each['most_usd_a_month']:.2f}/month", why(each))
    if answer["plan"]:
        console.print(table)
    for line in _after(answer, dry_run):
        console.print(line, soft_wrap=True)


def why(entry: Mapping[str, Any]) -> str:
    """Each reason once, with the hosts it is for."""
    hosts: dict[str, list[str]] = defaultdict(list)
    for reason in entry["reasons"]:
        hosts[reason["why"]].extend([reason["host"]] if reason["host"] else [])
    return "\n".join(f"{text}: {_some(of)}" if of else text for text, of in hosts.items())


def _some(hosts: list[str]) -> str:
    more = len(hosts) - MOST_HOSTS
    return ", ".join(hosts[:MOST_HOSTS]) + (f" and {more} more" if more > 0 else "")


def _after(answer: Mapping[str, Any], dry_run: bool) -> list[str]:
    counts = (("marked", "to mark"), ("unmarked", "to unmark"), ("deleted", "to delete"))
    total = len(answer["plan"]) + answer["untold"]
    return [
        *([f"{answer['untold']} more are kept and not shown"] if answer["untold"] else []),
        *(f"left alone: {each['snapshot']}: {each['why']}" for each in answer["left_alone"]),
        f"{total} snapshots, " + ", ".join(f"{len(answer[done])} {(done, will)[dry_run]}" for done, will in counts),
        *([f"refused: {answer['refused']}"] if answer["refused"] else []),
    ]
