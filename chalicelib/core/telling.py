"""What has not been told yet: troubles and what was told of them in, messages out.

A message is claimed in the catalogue, sent, and then marked as told. Who dies in between leaves a claim behind, which
anyone may take over a little later: everything is told at least once, and by one teller at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from chalicelib.core.advice import ADVICE
from chalicelib.core.trouble import Trouble, said

# What still stands is told again about once a day: an hour less, because who tells looks once an hour.
REPEAT = timedelta(hours=23)

# Longer than a teller lives (its Lambda's timeout), so that no living one is overtaken.
TAKE_OVER = timedelta(minutes=4)

# More than these of one kind at once share letters: a night that goes wrong for hundreds sends no hundreds.
MOST_LETTERS = 5

# SNS takes 256 KiB. Each letter is claimed, sent and marked by itself, so that thousands are told piece by piece.
MOST_PER_LETTER = 100


# What is told whether or not anything is wrong (see `dead_man.py`): it is never over.
WEEKLY, GOOD_NIGHT = "weekly", "good night"
REGULAR = (WEEKLY, GOOD_NIGHT)
# What somebody has deleted does not come back: nobody is told that it is well again.
LOST = "snapshots"
# Nor of locks on copies, which are told while they can be taken back: when they cannot, they hold.
LOCKS = "preflight/locks"


@dataclass(frozen=True)
class Told:
    """The last that was told about a subject, or is being told while `told` is None.

    `version` is the fencing number of the last conditional write; 0 was never written.
    """

    about: str
    occurrence: str
    name: str
    what: str
    is_well: bool
    since: datetime
    claimed: datetime
    told: datetime | None = None
    version: int = 0


@dataclass(frozen=True)
class Message:
    """One thing to be told. `group` says which others it may share a letter with, `version` what it follows on."""

    about: str
    occurrence: str
    group: str
    name: str
    subject: str
    body: str
    is_well: bool
    since: datetime
    version: int = 0


@dataclass(frozen=True)
class Letter:
    """What is sent: mostly one message."""

    subject: str
    body: str


def find_untold(
    troubles: Iterable[Trouble], known: Mapping[str, Told], subjects: AbstractSet[str], now: datetime
) -> tuple[Message, ...]:
    """What has to be told now. `known` is what was told, by subject; `subjects` are those the policy still has."""
    standing = {trouble.about for trouble in troubles}
    raised = (_raised(trouble, known.get(trouble.about)) for trouble in troubles)
    over = (told for about, told in known.items() if about not in standing and about not in REGULAR)
    messages = (*raised, *(_ended(told, subjects) for told in over))
    return tuple(message for message in messages if is_due(message, known.get(message.about), now))


def is_due(message: Message, told: Told | None, now: datetime) -> bool:
    """Whether the message says something new, or again after a while, and nobody is about to send it."""
    if told is None:
        return True
    if told.told is None:
        return now >= told.claimed + TAKE_OVER
    if (message.is_well, message.occurrence) != (told.is_well, told.occurrence):
        return True
    return not message.is_well and now >= told.told + REPEAT


def claim(message: Message, now: datetime) -> Told:
    """What to write before it is sent; once it is, with `told` set."""
    return Told(
        about=message.about,
        occurrence=message.occurrence,
        name=message.name,
        what=message.subject,
        is_well=message.is_well,
        since=message.since,
        claimed=now,
        version=message.version,
    )


def bundles(messages: Iterable[Message]) -> list[tuple[Message, ...]]:
    """Each message by itself, but many of one group together: one letter each."""
    found: list[tuple[Message, ...]] = []
    for _, grouped in groupby(sorted(messages, key=_by_group), key=lambda message: message.group):
        alike = tuple(grouped)
        size = 1 if len(alike) <= MOST_LETTERS else MOST_PER_LETTER
        found += [alike[start : start + size] for start in range(0, len(alike), size)]
    return found


def letter(messages: Sequence[Message]) -> Letter:
    """The one letter that tells them all."""
    first = messages[0]
    if len(messages) == 1:
        return Letter(first.subject, first.body)
    return Letter(f"{first.group}: {len(messages)} messages", "\n\n".join(message.body for message in messages))


def _by_group(message: Message) -> tuple[str, str]:
    return message.group, message.about


def _raised(trouble: Trouble, told: Told | None) -> Message:
    still = told is not None and not told.is_well and told.occurrence == trouble.occurrence
    since = min(told.since, trouble.since) if told and still else trouble.since
    lines = (
        trouble.what,
        *(f"  {detail}" for detail in trouble.details),
        f"since: {said(since)}",
        f"what to do: {ADVICE[trouble.kind].to_do}",
    )
    return Message(
        about=trouble.about,
        occurrence=trouble.occurrence,
        group=trouble.kind.value,
        name=trouble.name,
        subject=f"{trouble.kind.value}: {trouble.what}",
        body="\n".join(lines),
        is_well=False,
        since=since,
        version=told.version if told else 0,
    )


def _ended(told: Told, subjects: AbstractSet[str]) -> Message:
    if told.about == LOST:
        subject, body = "no more snapshots are gone", "those that are do not come back, and are told of no more"
    elif told.about == LOCKS:
        subject, body = "locks of copies are told of no more", "what nobody has taken back in time holds to its end"
    elif told.about in subjects:
        subject, body = f"{told.name} is well again", "nothing is left to do"
    else:
        subject, body = f"{told.name} is no longer in the policy", "nothing more will be told of it"
    return Message(
        about=told.about,
        occurrence=told.occurrence,
        group="well again",
        name=told.name,
        subject=subject,
        body=f"{subject}: {body}\nit was told of since: {said(told.since)}",
        is_well=True,
        since=told.since,
        version=told.version,
    )
