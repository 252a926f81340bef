"""docs/restore.md as somebody has it before them: the commands that it shows, in its order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

PAGE = (Path(__file__).parents[2] / "docs/restore.md").read_text()
_GENERATED = re.compile(r"<!-- generated: .*?<!-- end of what is generated -->", re.DOTALL)
_FENCED = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_PROMPTED = re.compile(r"[$#] ")
_REMARK = re.compile(r" {2,}#.*$")
_INLINE = re.compile(r"`(ebbtide [^`]+)`")


@dataclass(frozen=True)
class Command:
    """`text` as it stands there; for `whom` of the two: the operator, or root on a host."""

    section: str
    whom: str
    text: str


def its_commands() -> list[Command]:
    """Those that stand by themselves. What is generated has a test of its own; toml is no command."""
    page = _GENERATED.sub("", PAGE)
    found = []
    for section, text in _sections(page):
        for _, language, fence in _FENCED.findall(text):
            found += [_command(section, each) for each in _commands(dedent(fence)) if not language]
    return found


def inline_commands() -> list[str]:
    """Those of ours that are named within its sentences and tables."""
    return _INLINE.findall(PAGE)


def _sections(page: str) -> Iterator[tuple[str, str]]:
    _, *parts = _SECTION.split(page)
    yield from zip(parts[::2], parts[1::2], strict=True)


def _command(section: str, text: str) -> Command:
    is_on_host = text.startswith("# ")
    return Command(section, "host" if is_on_host else "operator", re.sub(r"^[$#] ", "", text))


def _commands(fence: str) -> Iterator[str]:
    """Beside lines with a prompt the others are what is printed; without any, all of them are commands."""
    lines = fence.splitlines()
    has_prompts = any(map(_PROMPTED.match, lines))
    while lines:
        command = lines.pop(0)
        while _goes_on(command) and lines:
            command += "\n" + lines.pop(0)
        if _PROMPTED.match(command) or not has_prompts:
            yield command


def _goes_on(command: str) -> bool:
    return _REMARK.sub("", command.splitlines()[-1]).endswith(("\\", "|"))
