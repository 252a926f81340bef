"""Write the table of attacks in docs/security.md from the tests that try them: `python -m tools.attack_reference`."""

import re
from dataclasses import dataclass
from pathlib import Path

from tools.fault_rows import ATTACKER
from tools.generated import with_generated
from tools.marks import ROOT, find_marks

DOCUMENT = ROOT / "docs/security.md"
MADE_UP = ROOT / "tests/attack/test_any_bytes.py"

_HEAD = "| tried | outcome | by |\n|---|---|---|\n"


@dataclass(frozen=True)
class Attack:
    """One thing that is tried, as a part of a row of the table of faults, and what comes of it."""

    row: str
    what: str
    outcome: str
    path: Path
    test: str


def find_attacks() -> list[Attack]:
    """In the order of files and lines."""
    found = find_marks("attack", in_tables="tried")
    return [Attack(each.words["row"], each.values[0], each.words["outcome"], each.path, each.test) for each in found]


def reference() -> str:
    """A table for each row of the attacker's, of all that is tried."""
    attacks = find_attacks()
    counted = f"\n{len(attacks)} attacks are tried.\n"
    return made_up() + counted + "".join(_section(row, attacks) for row in ATTACKER)


def made_up() -> str:
    """How many inputs there are beside the attacks, by the number for each property that its tests, and make, have."""
    properties = sum(1 for mark in find_marks("fuzzed", in_tables="fuzzed") if ROOT / mark.path == MADE_UP)
    usual = _number(r'"EBBTIDE_FUZZ", "([0-9]+)"', MADE_UP)
    long = _number(r"EBBTIDE_FUZZ=([0-9]+) .*/test_any_bytes\.py", ROOT / "Makefile")
    return (
        f"\nOf inputs that are made up `make test` tries {properties * usual:,} and `make long` {properties * long:,}:"
        f" {usual:,} and {long:,} for each of {properties} properties.\n"
    )


def _number(pattern: str, path: Path) -> int:
    found = re.findall(pattern, path.read_text())
    return int(found[0])


def updated(document: str) -> str:
    """The document with the tables as they should be now."""
    return with_generated(document, "attack_reference", reference())


def _section(row: str, attacks: list[Attack]) -> str:
    lines = "".join(_line(each) for each in attacks if each.row == row)
    return f"\n### {row}: {ATTACKER[row].fault}\n\n{_HEAD}{lines}"


def _line(attack: Attack) -> str:
    what = attack.what.replace("|", "\\|")
    return f"| {what} | {attack.outcome} | [{attack.path.stem}](../{attack.path}) |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
