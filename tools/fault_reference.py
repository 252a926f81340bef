"""Write the tables in docs/faults.md from the marks that tests carry: `python -m tools.fault_reference`."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.fault_rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/faults.md"
START, END = "<!-- generated: python -m tools.fault_reference -->", "<!-- end of what is generated -->"

_HEAD = "| row | fault | required behaviour | shown by | lacks |\n|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Shown:
    """A test that carries a row's mark, and what of the row it says is not there yet."""

    row: str
    path: Path
    test: str
    lacks: str | None


def find_shown() -> list[Shown]:
    """Every mark of every test, in the order of files and lines."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return [shown for path in paths for shown in _shown_in(path)]


def reference() -> str:
    """A table for each part of the whole, with a row for each fault."""
    shown: dict[str, list[Shown]] = defaultdict(list)
    for each in find_shown():
        shown[each.row].append(each)
    return "".join(_section(title, rows, shown) for title, rows in ROWS.items())


def updated(document: str) -> str:
    """The document with the tables as they should be now."""
    before, rest = document.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{reference()}\n{END}{after}"


def _shown_in(path: Path) -> Iterator[Shown]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    lacks = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}.get("lacks")
                    yield Shown(ast.literal_eval(mark.args[0]), path.relative_to(ROOT), node.name, lacks)


def _section(title: str, rows: Mapping[str, Row], shown: Mapping[str, Sequence[Shown]]) -> str:
    return f"\n## {title}\n\n{_HEAD}" + "".join(_row(name, row, shown.get(name, ())) for name, row in rows.items())


def _row(name: str, row: Row, shown: Sequence[Shown]) -> str:
    tests = "<br>".join(f"[{each.test}](../{each.path})" for each in shown)
    lacks = "; ".join(dict.fromkeys(each.lacks for each in shown if each.lacks))
    cells = (name, row.fault, row.behaviour, tests or "no test carries its mark", lacks)
    return "| " + " | ".join(cells).rstrip() + " |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
