"""Write the exit codes into docs/host.md from what the commands' help prints: `python -m tools.exit_reference`."""

from pathlib import Path

from ebbtide_agent.commands.exits import EXITS
from tools.generated import with_generated

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/host.md"

_HEAD = "| exit code | meaning |\n|---|---|\n"


def reference() -> str:
    """A row for each code."""
    return _HEAD + "".join(f"| {number} | {meaning} |\n" for number, meaning in EXITS.items())


def updated(document: str) -> str:
    """The document with the table as it should be now."""
    return with_generated(document, "exit_reference", f"\n{reference()}")


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
