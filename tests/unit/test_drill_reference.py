"""The page about getting it back says what a drill finds."""

from tools.drill_reference import DOCUMENT, find_corruptions, updated


def test_the_table_is_what_the_tests_drill_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.drill_reference`"


def test_every_corruption_is_there_once() -> None:
    corruptions = find_corruptions()

    assert len({each.values[0] for each in corruptions}) == len(corruptions)
    assert len(corruptions) > 40
