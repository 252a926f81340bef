"""Write the tables in docs/faults.md from the marks that tests carry: `python -m tools.fault_reference`.

With `--play` the tests are played first, all or those that are named, and what came of them is kept in
tests/faults-played.json.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.fault_play import play, played
from tools.fault_rows import ROWS, Row
from tools.generated import with_generated
from tools.marks import ROOT, find_marks

DOCUMENT = ROOT / "docs/faults.md"

_HEAD = "| row | fault | required behaviour | shown by | result | lacks |\n|---|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Shown:
    """A test that carries a row's mark, and what of the row it says is not there yet."""

    row: str
    path: Path
    test: str
    lacks: str | None

    @property
    def node(self) -> str:
        """As pytest calls it, all its parameters together."""
        return f"{self.path}::{self.test}"


def find_shown() -> list[Shown]:
    """Every mark of every test, in the order of files and lines."""
    return [Shown(each.values[0], each.path, each.test, each.words.get("lacks")) for each in find_marks("fault")]


def reference() -> str:
    """A table for each part of the whole, with a row for each fault, and what came of its tests when last played."""
    results = played()
    shown: dict[str, list[Shown]] = defaultdict(list)
    for each in find_shown():
        shown[each.row].append(each)
    return "".join(_section(title, rows, shown, results) for title, rows in ROWS.items())


def updated(document: str) -> str:
    """The document with the tables as they should be now."""
    return with_generated(document, "fault_reference", reference())


def _section(
    title: str, rows: Mapping[str, Row], shown: Mapping[str, Sequence[Shown]], results: Mapping[str, str]
) -> str:
    lines = (_row(name, row, shown.get(name, ()), results) for name, row in rows.items())
    return f"\n## {title}\n\n{_HEAD}" + "".join(lines)


def _row(name: str, row: Row, shown: Sequence[Shown], results: Mapping[str, str]) -> str:
    tests = "<br>".join(f"[{each.test}](../{each.path})" for each in shown)
    result = "<br>".join(results.get(each.node, "not played yet") for each in shown)
    lacks = "; ".join(dict.fromkeys(each.lacks for each in shown if each.lacks))
    cells = (name, row.fault, row.behaviour, tests or "no test carries its mark", result, lacks)
    return "| " + " | ".join(cells).rstrip() + " |\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.fault_reference", description=__doc__)
    parser.add_argument("--play", nargs="*", metavar="TEST", help="play the tests first: all, or these alone")
    asked = parser.parse_args().play
    exit_code = play(asked) if asked is not None else 0
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
    sys.exit(exit_code)
