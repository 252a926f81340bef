"""Write the table in docs/alarms.md from the advice that messages carry: `python -m tools.alarm_reference`."""

from pathlib import Path

from chalicelib.core.advice import ADVICE
from tools.generated import with_generated

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/alarms.md"

_HEAD = "| the subject begins with | what it means | what to do |\n|---|---|---|\n"


def reference() -> str:
    """A row for each kind of trouble."""
    rows = ((f"`{kind.value}`", advice.meaning, advice.to_do) for kind, advice in ADVICE.items())
    return _HEAD + "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def updated(document: str) -> str:
    """The document with the table as it should be now."""
    return with_generated(document, "alarm_reference", f"\n{reference()}")


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
