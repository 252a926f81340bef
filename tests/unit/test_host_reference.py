"""The page about hosts, and the help of the one file, have every key and everything that is left out."""

import pytest

from ebbtide_agent.host.config_keys import KEYS, Key
from ebbtide_agent.host.filters import BUILT_IN_EXCLUDES
from tools.host_reference import DOCUMENT, updated
from tools.manual import command_line, commands_of


def help_of(command: str) -> str:
    return commands_of(command_line())[command].description or ""


def test_the_page_says_what_the_code_says_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.host_reference`"


@pytest.mark.parametrize("key", [key for key in KEYS if key.default is not None], ids=lambda key: key.name)
def test_the_help_of_run_has_every_key_with_its_default_and_its_meaning_in_one_line(key: Key) -> None:
    (line,) = [line for line in help_of("run").splitlines() if line.startswith(f"  {key.name}=")]

    assert line.split("   ")[0].strip() == f"{key.name}={key.default}"
    assert line.endswith(f"   {key.meaning}") and len(line) <= 120


@pytest.mark.parametrize("pattern", BUILT_IN_EXCLUDES)
def test_the_help_of_explain_has_what_is_never_backed_up(pattern: str) -> None:
    assert f"  {pattern}" in help_of("explain").splitlines()
