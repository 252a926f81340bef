"""Write the table of what a drill finds in docs/restore.md from the tests of it: `python -m tools.drill_reference`."""

from tools.generated import with_generated
from tools.marks import ROOT, Mark, find_marks

DOCUMENT = ROOT / "docs/restore.md"

_HEAD = "\n| what befell it | verdict | finding |\n|---|---|---|\n"
_PLACES = {"{0}": "PATH", "{1}": "PATH2"}


def find_corruptions() -> list[Mark]:
    """In the order of files and lines; each says what befell a restore point, what is found, and the verdict."""
    return [each for each in find_marks("parametrize", in_tables="befalls") if "finds" in each.words]


def updated(document: str) -> str:
    """The document with the table as it should be now."""
    corruptions = find_corruptions()
    counted = f"{len(corruptions)} corruptions are drilled.\n"
    return with_generated(document, "drill_reference", counted + _HEAD + "".join(map(_line, corruptions)))


def _line(corruption: Mark) -> str:
    finds = "<br>".join(f"`{_placed(line)}`" for line in corruption.words["finds"].splitlines())
    return f"| {corruption.values[0]} | {corruption.words.get('verdict', 'different')} | {finds} |\n"


def _placed(finding: str) -> str:
    for place, name in _PLACES.items():
        finding = finding.replace(place, name)
    return finding.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
