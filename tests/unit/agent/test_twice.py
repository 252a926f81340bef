"""Which of many numbers come more than once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.twice import found_twice


@given(some.lists(some.integers(0, 2**64 - 1) | some.sampled_from([0, 1, 256, 2**64 - 1])))
def test_what_comes_twice_is_found_and_nothing_else(numbers: list[int]) -> None:
    assert found_twice(iter(numbers)) == {number for number, times in Counter(numbers).items() if times > 1}
