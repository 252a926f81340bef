"""Two trees have the same hard links when their digests say so, and only then."""

from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.hardlinks import digest_of

_NAMES = some.sampled_from([b"a", b"b", b"a/b", b"c\n", b"\xff"])
_GROUPS = some.lists(some.lists(_NAMES, min_size=2, max_size=3, unique=True), max_size=3)


@given(one=_GROUPS, other=_GROUPS)
def test_the_digest_is_of_the_groups_and_of_no_order(one: list[list[bytes]], other: list[list[bytes]]) -> None:
    alike = sorted(map(sorted, one)) == sorted(map(sorted, other))

    assert (digest_of(one) == digest_of(other)) == alike
    assert digest_of(one) == digest_of([list(reversed(group)) for group in reversed(one)])
