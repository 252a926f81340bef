"""What the shapes of both, runs and recoveries, have in common."""

from chalicelib.fields import Fields

# A machine may say anything; what we keep of its words is bounded.
MOST_PROBLEMS = 50
LONGEST_PROBLEM = 500


def owner_of(key: str) -> str:
    """The id inside an archive key: its three parts after the first."""
    return "/".join(key.split("/")[1:4])


def bounded(fields: Fields, name: str) -> tuple[str, ...]:
    """The first of a list of texts, each cut short."""
    return tuple(text[:LONGEST_PROBLEM] for text in fields.texts(name)[:MOST_PROBLEMS])
