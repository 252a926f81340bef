"""Write the reference in docs/configuration.md from the tables that validate: `python -m tools.policy_reference`."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from chalicelib.core.checks import REQUIRED, Key, Named, Table
from chalicelib.core.policy_keys import POLICY
from tools.generated import with_generated

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/configuration.md"

_HEAD = "| key | meaning | value | default |\n|---|---|---|---|\n"


def reference() -> str:
    """A section for each table of the policy, under every path it stands at, and a row for each of its keys."""
    paths: dict[Table, list[str]] = defaultdict(list)
    for path, table in _tables("", POLICY):
        paths[table].append(f"`[{path}]`" if path else "The whole")
    return "".join(_section(", ".join(where), table) for table, where in paths.items())


def updated(document: str) -> str:
    """The document with the reference as it should be now."""
    return with_generated(document, "policy_reference", reference())


def _tables(path: str, table: Table) -> Iterator[tuple[str, Table]]:
    yield path, table
    for key in table.keys:
        below = f"{path}.{key.name}" if path else key.name
        if isinstance(key.shape, Named):
            yield from _tables(f"{below}.NAME", key.shape.table)
        elif isinstance(key.shape, Table):
            yield from _tables(below, key.shape)


def _section(title: str, table: Table) -> str:
    return f"\n### {title}\n\n{_HEAD}" + "".join(_row(key) for key in table.keys)


def _row(key: Key) -> str:
    cells = (f"`{key.name}`", key.meaning, key.shape.expected, _default(key))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(key: Key) -> str:
    if key.default is REQUIRED:
        return "required"
    return "none" if key.default in (None, ()) else f"`{key.default}`"


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
