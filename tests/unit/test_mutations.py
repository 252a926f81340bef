"""The list of mutations cannot rot: what each one changes is there once, and so are the tests that should notice."""

from collections import Counter

import pytest

from tools.mutation_list import MUTATIONS, Mutation
from tools.mutations import ROOT, occurrences


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_changes_is_there_once_and_becomes_something_else(mutation: Mutation) -> None:
    assert occurrences(mutation) == 1
    assert mutation.text != mutation.instead
    assert [test for test in mutation.tests if not is_there(test)] == []


def is_there(test: str) -> bool:
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and f"def {name}" in (ROOT / path).read_text()


def test_no_two_mutations_have_one_name() -> None:
    assert [name for name, times in Counter(each.name for each in MUTATIONS).items() if times > 1] == []
