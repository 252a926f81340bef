"""The page about getting it back shows the card that is written now."""

from tools.card_reference import DOCUMENT, updated


def test_the_card_on_the_page_is_the_one_that_is_written_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.card_reference`"
