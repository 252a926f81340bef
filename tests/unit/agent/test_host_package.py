"""The host's package: the same bytes every time; manual, completions and examples say what the agent does."""

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ebbtide_agent.host import config
from ebbtide_agent.paths import HostPaths
from tools.build_deb import DEBIAN, build, made
from tools.manual import command_line, commands_of, completion, page

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg is not installed")
EXAMPLE = DEBIAN / "examples/backup_config"


def options() -> list[tuple[str, argparse.Action]]:
    """Every option of every command."""
    return [(name, action) for name, command in commands_of(command_line()).items() for action in command._actions]


@needs_dpkg
def test_it_is_built_the_same_every_time(tmp_path: Path) -> None:
    assert build(tmp_path / "one").read_bytes() == build(tmp_path / "two").read_bytes()


@needs_dpkg
def test_its_scripts_are_filled_in_and_no_shell_finds_fault_with_them(tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--control", str(build(tmp_path)), str(tmp_path / "control")], check=True)

    for script in ("postinst", "prerm", "postrm"):
        path = tmp_path / "control" / script
        assert re.search(r"@[A-Z]+@", path.read_text()) is None
        assert subprocess.run(["sh", "-n", str(path)], check=True, capture_output=True).stderr == b""


def test_a_purge_names_what_the_agent_makes_one_by_one(tmp_path: Path) -> None:
    """A directory that an operator may have his backups in, or a pattern, is not among it."""
    host = HostPaths()

    assert {host.config, host.installed, host.secrets / "key.next.pub", host.cron, host.timer} <= set(made())
    assert not {host.etc, host.state, *host.lent, host.secrets, host.scripts, host.include, host.exclude} & set(made())
    assert all(re.fullmatch("[A-Za-z0-9/._-]+", str(path)) for path in made())


def test_the_example_is_a_configuration_and_shows_every_key_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    shutil.copyfile(EXAMPLE, tmp_path / "backup_config")

    as_it_is = config.load(HostPaths(tmp_path, tmp_path))
    (tmp_path / "backup_config").write_text(re.sub(r"(?m)^#(?=[A-Z_]+=)", "", text))
    all_of_it = config.load(HostPaths(tmp_path, tmp_path))

    assert as_it_is == all_of_it
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", text)) == {*config.REQUIRED, *config.DEFAULTS}


def test_the_manual_has_every_command_and_every_option() -> None:
    text = page(command_line()).replace("\\-", "-")

    assert [name for name in commands_of(command_line()) if f".SS {name}\n" not in text] == []
    assert [words for _, action in options() for words in action.option_strings if words not in text] == []
    assert all(f"\\fB{code}\\fR" in text for code in (0, 1, 2, 3, 75, 77, 78))


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_shows_the_manual_and_finds_no_fault_with_it(tmp_path: Path) -> None:
    (tmp_path / "ebbtide-agent.1").write_text(page(command_line()))

    shown = subprocess.run(
        ["man", "--warnings", "--local-file", str(tmp_path / "ebbtide-agent.1")],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
        check=True,
    )

    assert shown.stderr == ""
    assert "ebbtide-agent - back this host up" in shown.stdout
    assert re.search(r"\$ ebbtide-agent check\n +ok +configuration: .*\n +fault +KEY .*\n +\.\.\.\n", shown.stdout)
    assert re.search(r"(?m)^ +SHRINK=50\n +hold a night back", shown.stdout)
    assert '  ebbtide-agent install --target receiver://backup.example.org --host-key "' in shown.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("",), "install"),
        (("install", "--win"), "--window"),
        (("install", "--target", "/etc/passw"), "/etc/passwd"),
        (("explain", "/etc/passw"), "/etc/passwd"),
        (("restore", "--yes", "/etc/passw"), "/etc/passwd"),
    ],
)
def test_bash_completes_commands_options_and_paths(words: tuple[str, ...], offered: str, tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(completion(command_line(), "bash"))
    script = """
    . "$1"; shift
    function=$(complete -p ebbtide-agent | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    COMP_WORDS=(ebbtide-agent "$@"); COMP_CWORD=$#
    "$function" ebbtide-agent "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    argv = ["bash", "--norc", "-c", script, "bash", str(tmp_path / "completion"), *words]
    completed = subprocess.run(argv, capture_output=True, text=True, check=True)

    assert offered in completed.stdout.split()


def test_zsh_is_told_every_command_and_every_option() -> None:
    text = completion(command_line(), "zsh")

    assert text.startswith("#compdef ebbtide-agent\n")
    assert [name for name in commands_of(command_line()) if f"    {name.rpartition(' ')[2]}:'" not in text] == []
    assert [words for _, action in options() for words in action.option_strings if words not in text] == []


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_finds_no_fault_with_its_completion(tmp_path: Path) -> None:
    (tmp_path / "_ebbtide-agent").write_text(completion(command_line(), "zsh"))

    subprocess.run(["zsh", "-n", str(tmp_path / "_ebbtide-agent")], check=True)


@needs_dpkg
@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_finds_no_error(tmp_path: Path) -> None:
    checked = subprocess.run(["lintian", "--fail-on", "error", str(build(tmp_path))], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout
