"""docs/restore.md names no command of ours, and no option of one, that there is not."""

import shlex

import pytest

from ebbtide_console.cli.main import main
from tests.local.page import inline_commands, its_commands

OURS = {*inline_commands(), *(each.text for each in its_commands() if each.text.startswith("ebbtide "))}


@pytest.mark.parametrize("text", sorted(OURS))
def test_each_command_that_it_names_is_known_with_its_options(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, verb, *words = shlex.split(text, comments=True)

    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])

    options = [word for word in words if word.startswith("--")]
    said = capsys.readouterr().out.split()
    assert ended.value.code == 0
    assert [option for option in options if option not in said and f"[{option}" not in said] == []
