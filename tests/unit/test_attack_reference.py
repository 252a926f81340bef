"""The page about security names the attacks that are tried."""

from tools.attack_reference import DOCUMENT, find_attacks, updated
from tools.fault_rows import ATTACKER


def test_the_tables_are_what_the_tests_try_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.attack_reference`"


def test_every_row_has_attacks_and_every_attack_is_there_once() -> None:
    attacks = find_attacks()

    assert {each.row for each in attacks} == {*ATTACKER}
    assert len({(each.row, each.what) for each in attacks}) == len(attacks)
    assert len(attacks) > 40
