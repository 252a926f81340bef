"""The list of mutations cannot rot: what each one changes is there once, and so are the tests that should notice."""

import ast
from collections import Counter

import pytest

from tools.mutated import MUTATIONS
from tools.mutated.mutation import Mutation
from tools.mutations import DOCUMENT, ROOT, Outcome, asked, beginning, document, first_named, occurrences


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_changes_is_there_once_and_becomes_something_else_that_is_python(mutation: Mutation) -> None:
    assert occurrences(mutation) == 1
    assert mutation.text != mutation.instead
    if mutation.file.endswith(".py"):
        ast.parse((ROOT / mutation.file).read_text().replace(mutation.text, mutation.instead))
    assert [test for test in mutation.tests if not is_there(test)] == []


def test_the_page_has_every_mutation_as_it_was_tried_and_no_other() -> None:
    rows = [row for row in DOCUMENT.read_text().splitlines() if row.startswith("| ") and ".py" in row]

    assert [each.name for each in MUTATIONS if not any(row.startswith(beginning(each)) for row in rows)] == []
    assert len(rows) == len(MUTATIONS)


def is_there(test: str) -> bool:
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and f"def {name}" in (ROOT / path).read_text()


def test_no_two_mutations_have_one_name() -> None:
    assert [name for name, times in Counter(each.name for each in MUTATIONS).items() if times > 1] == []


def test_words_choose_mutations_and_none_at_all_chooses_every_one() -> None:
    pages, writes = asked(["pages of", "no such guard"])

    assert {"pages of locks", "pages of volumes"} <= {each.name for each in pages}
    assert (len(pages) < len(MUTATIONS), writes) == (True, False)
    assert asked(["--write"]) == (list(MUTATIONS), True)


def test_a_word_that_no_name_holds_chooses_nothing_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked(["no such guard"])

    assert "'no such guard'" in capsys.readouterr().err


def test_what_some_mutations_came_to_is_written_into_the_table_of_all() -> None:
    first, second, *_ = MUTATIONS
    before = document([Outcome(first, "tests/test_a.py", True), Outcome(second, "tests/test_b.py", True)], "")

    after = document([Outcome(second, "tests/test_c.py", True)], before)

    assert after == before.replace("tests/test_b.py", "tests/test_c.py")
    assert after.count("tests/test_c.py") == 1


def test_who_noticed_is_a_test_and_nothing_that_one_has_logged() -> None:
    logged = "ERROR    ebbtide:app.py:239 gave up - of a report\n"

    assert (
        first_named(f"{logged}FAILED tests/test_a.py::test_b[c - d] - assert 1\n") == "tests/test_a.py::test_b[c - d]"
    )
    assert first_named(f"{logged}ERROR tests/test_a.py\n") == "tests/test_a.py"
    assert first_named(logged) is None
