"""The page about faults names the tests there are."""

from tools.fault_play import played
from tools.fault_reference import DOCUMENT, find_shown, updated
from tools.fault_rows import ROWS


def test_the_tables_are_what_the_tests_say_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.fault_reference`"


def test_every_mark_is_a_row() -> None:
    rows = {name for part in ROWS.values() for name in part}

    assert [shown for shown in find_shown() if shown.row not in rows] == []
    assert len(find_shown()) > 40


def test_none_had_failed_when_they_were_last_played() -> None:
    assert {node for node, result in played().items() if result == "failed"} == set()
