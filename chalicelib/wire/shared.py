"""What the shapes of both, runs and recoveries, have in common."""

from collections.abc import Sequence

# A machine may say anything; what we keep of its words is bounded.
MOST_PROBLEMS = 50
LONGEST_PROBLEM = 500


def owner_of(key: str) -> str:
    """The id inside an archive key: its three parts after the first."""
    return "/".join(key.split("/")[1:4])


def bounded(texts: Sequence[str]) -> tuple[str, ...]:
    """The first of a list of texts, each a line and cut short."""
    return tuple(map(as_line, texts[:MOST_PROBLEMS]))


def as_line(text: str) -> str:
    """What a machine says, as one line of a message or a screen: no new lines of its own, no moving of the cursor."""
    begun = text[:LONGEST_PROBLEM]
    escaped = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in begun)
    return "".join(escaped)[:LONGEST_PROBLEM]
