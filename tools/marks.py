"""The marks that tests carry, read from their text: nothing is run for it, or even imported."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mark:
    """A mark of a test: its own words, in the order they are given and by their names."""

    path: Path
    test: str
    values: tuple[Any, ...]
    words: Mapping[str, Any]


def find_marks(name: str, in_tables: str = "") -> Iterator[Mark]:
    """Every mark of this name, in the order of files and lines.

    With `in_tables` the entries of that name count as well, in the tables that a test takes its parameters from.
    """
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = ast.parse(path.read_text())
        tables = {ast.unparse(each.targets[0]): each.value for each in module.body if isinstance(each, ast.Assign)}
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef):
                for call in _calls(node, tables if in_tables else {}):
                    if ast.unparse(call.func) in (f"pytest.mark.{name}", in_tables):
                        yield _mark(call, path.relative_to(ROOT), node.name)


def _calls(test: ast.FunctionDef, tables: Mapping[str, ast.expr]) -> Iterator[ast.Call]:
    """The marks themselves, and the entries of the tables that they name."""
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call):
            yield mark
            named = [tables[ast.unparse(word)] for word in mark.args if ast.unparse(word) in tables]
            for entry in (node for table in named for node in ast.walk(table)):
                if isinstance(entry, ast.Call):
                    yield entry


def _mark(call: ast.Call, path: Path, test: str) -> Mark:
    """What of it is no plain value, as a test's other parameters may be, is left out."""
    values = tuple(ast.literal_eval(word) for word in call.args if isinstance(word, ast.Constant))
    words = {str(word.arg): word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
    return Mark(path, test, values, words)
