"""The operator's scripts: the right ones, in order, within their time, each with a clean environment."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.host.outcome import Remark
from ebbtide_agent.host.scripts import environment_of, find, find_remark, run_all
from ebbtide_agent.report import ScriptResult
from tests.unit.agent.pipes import a_pipe

LIMIT = 60.0
NOTHING: dict[str, str] = {}


def a_script(directory: Path, name: str, body: str = "exit 0", mode: int = 0o755, top: str = "#!/bin/sh\n") -> None:
    (directory / name).write_text(f"{top}{body}\n")
    (directory / name).chmod(mode)


def ran(directory: Path, limit: float = LIMIT) -> list[ScriptResult]:
    return list(run_all(directory, limit, NOTHING))


def test_whatever_starts_with_two_digits_is_a_script_and_comes_in_order(tmp_path: Path) -> None:
    for name in ("20-b", "10-a", "05", "1-no", "x10", "30-c.disabled"):
        a_script(tmp_path, name)
    (tmp_path / "40-directory").mkdir()

    assert [path.name for path in find(tmp_path)] == ["05", "10-a", "20-b", "30-c.disabled"]


def test_no_directory_no_scripts(tmp_path: Path) -> None:
    assert find(tmp_path / "none") == []


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "echo out; echo err >&2")

    (result,) = ran(tmp_path)

    assert (result.name, result.exit_code, result.output) == ("10-a", 0, "out\nerr\n")
    assert find_remark(result, LIMIT) is None


def test_only_the_end_of_much_output_is_kept(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "yes | head -c 3000000; echo; echo last")

    (result,) = ran(tmp_path, 60)

    assert len(result.output) == 4096
    assert result.output.endswith("last\n")


@pytest.mark.fault("H2")
def test_one_that_fails_makes_the_night_partial_and_holds_no_other_up(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "echo trying; echo no such database; exit 3")
    a_script(tmp_path, "20-b", f"touch {tmp_path}/reached")

    remarks = [find_remark(result, LIMIT) for result in ran(tmp_path)]

    why = "script 10-a ended with exit code 3: no such database; so this night is no restore point"
    assert remarks == [Remark("partial", why), None]
    assert (tmp_path / "reached").exists()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("printf '%0300d' 0; echo no such database >&2; exit 3", "no such database"),
        ("printf '%0300d, and so no dump' 0 >&2; exit 3", "0" * 184 + ", and so no dump"),
        ("echo no dump; echo >&2; exit 3", "no dump"),
    ],
    ids=["a bar on standard output", "a long line", "nothing on standard error"],
)
def test_what_is_quoted_of_one_that_fails_is_why(tmp_path: Path, body: str, why: str) -> None:
    a_script(tmp_path, "10-a", body)

    (result,) = ran(tmp_path)

    remark = find_remark(result, LIMIT)
    assert remark and remark.problem == f"script 10-a ended with exit code 3: {why}; so this night is no restore point"


@pytest.mark.parametrize(
    ("top", "status"),
    [
        ("#!/bin/sh\n# ebbtide: optional\n", "complete-with-warnings"),
        ("#!/bin/sh\n" + "#\n" * 18 + "  # ebbtide: optional \n", "complete-with-warnings"),
        ("#!/bin/sh\n" + "#\n" * 19 + "# ebbtide: optional\n", "partial"),
        ("#!/bin/sh\n# not ebbtide: optional\n", "partial"),
    ],
    ids=["second line", "twentieth line", "too far down", "another comment"],
)
def test_one_that_says_at_its_top_that_it_is_optional_warns(tmp_path: Path, top: str, status: str) -> None:
    a_script(tmp_path, "10-a", "exit 1", top=top)

    (result,) = ran(tmp_path)

    remark = find_remark(result, LIMIT)
    assert remark and remark.status == status
    assert result.required == (status == "partial")


@pytest.mark.fault("H2")
def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", f"sleep 600 & echo $! >{tmp_path}/child; wait")

    (result,) = ran(tmp_path, 3.0)

    child = (tmp_path / "child").read_text().strip()
    remark = find_remark(result, 3.0)
    assert remark == Remark("partial", "script 10-a was killed after 3 s; so this night is no restore point")
    assert (result.exit_code, result.timed_out) == (124, True)
    assert not Path(f"/proc/{child}/cmdline").exists() or Path(f"/proc/{child}/cmdline").read_bytes() == b""


def test_one_that_ends_as_if_its_time_was_up_says_what_it_says(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "echo no answer from the database >&2; exit 124")

    (result,) = ran(tmp_path)

    why = "script 10-a ended with exit code 124: no answer from the database; so this night is no restore point"
    assert find_remark(result, LIMIT) == Remark("partial", why)
    assert not result.timed_out


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ("", "126: it has no line #! at its top: begin it with the program that is to read it, such as #!/bin/sh"),
        (
            "#! /no/interpreter -e\n",
            "127: it is to be read by /no/interpreter, which is not there: install that, or correct its first line",
        ),
        (
            "#!/bin/sh\r\n",
            "127: it is to be read by /bin/sh\\r, which is not there: install that, or correct its first line",
        ),
    ],
)
def test_what_no_kernel_can_execute_is_a_failure_that_says_why(tmp_path: Path, top: str, why: str) -> None:
    a_script(tmp_path, "10-a", top=top)

    (result,) = ran(tmp_path)

    said = f"script 10-a ended with exit code {why}; so this night is no restore point"
    assert find_remark(result, LIMIT) == Remark("partial", said)


def test_one_that_ends_like_that_by_itself_says_what_it_says(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "no-such-program")

    (result,) = ran(tmp_path)

    remark = find_remark(result, LIMIT)
    assert remark and "exit code 127: " in remark.problem and "no-such-program" in remark.problem


def test_one_that_was_never_made_executable_is_not_passed_over(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", mode=0o644)
    (tmp_path / "20-b").symlink_to(tmp_path / "gone")

    first, second = (find_remark(result, LIMIT) for result in ran(tmp_path))

    assert first and first.status == "partial" and "it is not executable: chmod u+x" in first.problem
    assert second and "No such file" in second.problem


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_pipe_among_the_scripts_holds_nobody_up(tmp_path: Path, mode: int) -> None:
    with a_pipe(tmp_path / "10-a", "# ebbtide: optional\n"):
        (tmp_path / "10-a").chmod(mode)

        (result,) = ran(tmp_path)

    remark = find_remark(result, LIMIT)
    assert remark and remark.status == "partial" and "it is no regular file: rm " in remark.problem


def test_each_knows_the_run_the_host_and_where_dumps_go_and_nothing_else_of_ours(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "env | grep -vE '^(_|PWD|SHLVL)='")
    given = environment_of("us0", datetime(2026, 11, 23, 2, 10, tzinfo=UTC), tmp_path / "state/dumps")

    (result,) = run_all(tmp_path, LIMIT, given)

    said = dict(line.split("=", 1) for line in result.output.splitlines())
    assert said == dict(given)
    assert set(said) == {"PATH", "HOME", "LANG", "EBBTIDE_RUN", "EBBTIDE_HOST", "EBBTIDE_DUMPS"}
    assert said["EBBTIDE_RUN"] == "us0-20261123T021000Z"


@pytest.mark.fault("H3")
def test_dumps_are_private_and_a_failed_one_leaves_yesterdays_where_it_was(tmp_path: Path) -> None:
    given = environment_of("us0", datetime(2026, 11, 23, 2, 10, tzinfo=UTC), tmp_path / "dumps")
    (tmp_path / "dumps/base.sql").write_text("yesterday's\n-- dump complete\n")
    checked = 'tail -n1 "$new" | grep -q complete || { echo "cut short"; exit 1; }; mv "$new" "${new%.new}"'
    a_script(tmp_path, "10-a", f'new=$EBBTIDE_DUMPS/base.sql.new; echo half >"$new"; {checked}')

    (result,) = run_all(tmp_path, LIMIT, given)

    remark = find_remark(result, LIMIT)
    assert remark and "exit code 1: cut short" in remark.problem
    assert (tmp_path / "dumps/base.sql").read_text().startswith("yesterday's")
    assert (tmp_path / "dumps").stat().st_mode & 0o777 == 0o700
