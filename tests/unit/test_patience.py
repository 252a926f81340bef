"""What is left to `make long` is played by it: nobody would miss what is played nowhere."""

import re

from tests.debian import ROOT


def test_make_long_plays_whatever_is_left_to_it() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlong:")[2].partition("\n\n")[0]
    leaving = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^from tests\.patience import", path.read_text(), re.MULTILINE)
    ]

    assert leaving
    assert [path for path in leaving if path not in recipe] == []
