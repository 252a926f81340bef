"""Write the exit codes into docs/host.md from what every --help prints: `python -m tools.exit_reference`."""

from pathlib import Path

from ebbtide_agent.commands.here import EXITS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/host.md"
START, END = "<!-- generated: python -m tools.exit_reference -->", "<!-- end of what is generated -->"

_HEAD = "| exit code | meaning |\n|---|---|\n"


def reference() -> str:
    """A row for each code."""
    return _HEAD + "".join(f"| {number} | {meaning} |\n" for number, meaning in EXITS.items())


def updated(document: str) -> str:
    """The document with the table as it should be now."""
    before, rest = document.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n\n{reference()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
