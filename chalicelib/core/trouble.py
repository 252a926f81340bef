"""Something that is wrong, as it is told: with whom, what, since when."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.advice import Kind


@dataclass(frozen=True)
class Trouble:
    """Something to be told. Another `occurrence` about the same is told at once, the same one only now and then."""

    about: str
    kind: Kind
    name: str
    what: str
    since: datetime
    occurrence: str
    details: tuple[str, ...] = ()


def said(moment: datetime) -> str:
    """A time as messages say it: UTC, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
