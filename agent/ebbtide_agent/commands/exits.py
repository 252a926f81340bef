"""The exit codes: what each one means, by the commands that end with it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# `status` ends as the last night did.
_NIGHT = ("run", "status")
_EVERY: tuple[str, ...] = ()
_ANY_OTHER = ("any other command",)


@dataclass(frozen=True)
class Meaning:
    """Of these commands, or of every one."""

    code: int
    text: str
    of: tuple[str, ...] = _EVERY

    @property
    def told(self) -> str:
        """For a table of all: what is said of no command is said of a night."""
        if self.of in (_EVERY, _NIGHT, ("run",)):
            return self.text
        named = self.of if self.of == _ANY_OTHER else tuple(f"`{command}`" for command in self.of)
        return f"of {' and '.join((', '.join(named[:-1]), named[-1])) if named[1:] else named[0]}: {self.text}"


MEANINGS = (
    Meaning(0, "complete (warnings, of what vanished while it was pushed for instance, are in the report)", _NIGHT),
    Meaning(0, "all is in order", ("check",)),
    Meaning(0, "all is backed up", ("explain",)),
    Meaning(0, "all of it is back", ("restore",)),
    Meaning(0, "it is done", _ANY_OTHER),
    Meaning(1, "failed: nothing was pushed, or nobody is there to take it; the reason is on the last line", _NIGHT),
    Meaning(1, "something is not backed up", ("explain",)),
    Meaning(1, "there is no such restore point, or nothing came of it", ("list", "restore")),
    Meaning(1, "no run was reported, or not the last one, or none for 36 hours", ("status",)),
    Meaning(1, "a person should look, each line says why", ("peer status",)),
    Meaning(1, "it failed; the reason is on the last line", _ANY_OTHER),
    Meaning(2, "the command line was not understood"),
    Meaning(
        3,
        "partial: some of it is there, and tonight is no restore point; the report names what is missing",
        _NIGHT,
    ),
    Meaning(3, "some of it is back, what is missing was named", ("restore",)),
    Meaning(
        4,
        "suspect: a guard found the host's data gone or rewritten; the report says what, and what to do if it is meant",
        _NIGHT,
    ),
    Meaning(75, "the target could not be reached in time; the next night tries again", ("run",)),
    Meaning(75, "nobody answered in time", ("list", "restore")),
    Meaning(75, "not now, a session or a snapshot of that host is under way", ("peer open", "peer remove")),
    Meaning(
        77,
        "refused: another backup is under way, the receiver said no, another target than it was, or this is a copy",
        ("run",),
    ),
    Meaning(77, "a backup is under way, or what is there is not this host's", ("list", "restore", "uninstall")),
    Meaning(77, "this is a copy of another host, or it is none", ("install",)),
    Meaning(
        77, "the store is not there or not the right one, or serves already", ("peer add", "peer remove", "peer serve")
    ),
    Meaning(77, "something would change, and nobody has agreed to it", ("restore", "uninstall", "peer remove")),
    Meaning(78, "the configuration has faults, or `check` found some; all of them are listed"),
    Meaning(79, "its receiver was lost twice before the push was on record; the next night tries again", ("run",)),
    Meaning(129, "its terminal or connection went away"),
    Meaning(130, "interrupted"),
    Meaning(141, "whoever read what it printed went away, `head` for instance"),
    Meaning(143, "told to stop"),
)


def _by_code(meanings: Iterable[tuple[int, str]]) -> Mapping[int, str]:
    found: dict[int, list[str]] = {}
    for code, text in meanings:
        found.setdefault(code, []).append(text)
    return {code: "; ".join(texts) for code, texts in found.items()}


def _as_text(exits: Mapping[int, str]) -> str:
    wrapped = (
        textwrap.wrap(f"{number:<4} {meaning}", 112, subsequent_indent=" " * 5) for number, meaning in exits.items()
    )
    return "exit codes:\n" + "".join(f"  {line}\n" for lines in wrapped for line in lines)


def of_command(name: str) -> str:
    """What the help of a command says, by its words: "run", "peer add"."""
    named = {meaning.code for meaning in MEANINGS if name in meaning.of}
    meant = (
        (meaning.code, meaning.text)
        for meaning in MEANINGS
        if meaning.of == _EVERY or name in meaning.of or (meaning.of == _ANY_OTHER and meaning.code not in named)
    )
    return _as_text(_by_code(meant))


# What all commands may end with.
EXITS = _by_code((meaning.code, meaning.told) for meaning in MEANINGS)
EXIT_CODES = _as_text(EXITS)
