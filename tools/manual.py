"""The agent's manual page and shell completions, made from its command line, so that they cannot say anything else."""

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import shtab

from ebbtide_agent import VERSION, host_main
from ebbtide_agent.commands.exits import EXIT_CODES
from ebbtide_agent.commands.here import place
from ebbtide_agent.program import parser

# Two columns in a help text: what is meant, at least three blanks, what is said of it.
_TWO_COLUMNS = re.compile(r"  (?P<term>\S+(?: \S+)*) {3,}(?P<text>\S.*)")
_WIDTH = 76
# What is typed as a path, though it is not taken for one over here.
_PATHS = ("PATH", "TARGET")


def command_line() -> argparse.ArgumentParser:
    """The host's."""
    return parser(host_main.all_commands())


def page(top: argparse.ArgumentParser) -> str:
    """ebbtide-agent(1), in man's own macros."""
    return "\n".join(
        (
            f'.TH EBBTIDE-AGENT 1 "" "ebbtide-agent {VERSION}" "Ebbtide"',
            ".SH NAME",
            r"ebbtide\-agent \- back this host up, every night",
            ".SH SYNOPSIS",
            r".B ebbtide\-agent",
            r"\fICOMMAND\fR [\fIOPTION\fR]...",
            ".SH DESCRIPTION",
            *_text(top.description or ""),
            ".SH COMMANDS",
            *(line for name, command in commands_of(top).items() for line in _command(name, command)),
            ".SH EXIT STATUS",
            *_text(EXIT_CODES.partition("\n")[2]),
            ".SH SEE ALSO",
            ".BR rsync (1),",
            ".BR ssh (1),",
            ".BR systemd.timer (5),",
            ".BR cron (8)",
            "",
        )
    )


def completion(top: argparse.ArgumentParser, shell: str) -> str:
    """What a shell needs to complete the command line; `shell` is bash or zsh."""
    _summarise(top)
    for command in commands_of(top).values():
        for action in command._actions:
            if action.type in (Path, place) or action.metavar in _PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(top, shell))


def commands_of(top: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Every command by its words, those below another one too: "run", "peer", "peer add"."""
    found: dict[str, argparse.ArgumentParser] = {}
    for places in _places(top):
        for name, command in places.choices.items():
            found[name] = command
            found.update({f"{name} {word}": below for word, below in commands_of(command).items()})
    return found


def _summarise(top: argparse.ArgumentParser) -> None:
    """A shell shows a line beside each command, not a page."""
    for places in _places(top):
        for summary in places._choices_actions:
            places.choices[summary.dest].description = summary.help
            _summarise(places.choices[summary.dest])


def _places(top: argparse.ArgumentParser) -> Iterator["argparse._SubParsersAction[argparse.ArgumentParser]"]:
    return (action for action in top._actions if isinstance(action, argparse._SubParsersAction))


def _command(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    yield f".SS {_plain(name)}"
    yield from (".EX", *map(_plain, _usage(command).splitlines()), ".EE")
    yield from _text(command.description or "")
    for action in _without_words(command):
        yield from (".TP", rf"\fB{_plain(_words(action))}\fR", _plain(_said_of(action)))


def _without_words(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What may follow a command is told under its own heading."""
    return (action for action in command._actions if not isinstance(action, argparse._SubParsersAction))


def _usage(command: argparse.ArgumentParser) -> str:
    """One width everywhere: argparse's own is that of the terminal."""
    formatter = argparse.HelpFormatter(command.prog, width=_WIDTH)
    formatter.add_usage(None, command._actions, command._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _words(action: argparse.Action) -> str:
    return argparse.HelpFormatter("", width=_WIDTH)._format_action_invocation(action)


def _said_of(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "ebbtide-agent"}


def _text(text: str) -> Iterator[str]:
    """A help text: what begins at the margin is filled, two columns are a list, what else is indented is left so.

    So is all that follows a command that is shown, to the next empty line: it is what the command prints.
    """
    in_list = in_example = False
    for line in text.splitlines():
        columns = None if in_example else _TWO_COLUMNS.fullmatch(line)
        if not line.strip():
            yield ".PP"
            in_list = in_example = False
        elif columns:
            yield from (".TP", rf"\fB{_plain(columns['term'])}\fR", _plain(columns["text"]))
            in_list = True
        elif in_list or not line.startswith(" "):
            yield _plain(line.strip())
        else:
            yield from (".EX", _plain(line), ".EE")
            in_example = in_example or line.startswith("  $ ")


def _plain(text: str) -> str:
    """Text that groff takes for nothing else: backslashes, hyphens that can be copied, no leading dot or quote."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
