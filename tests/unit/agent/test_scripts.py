"""The operator's scripts: the right ones, in order, within their time."""

from pathlib import Path

import pytest

from ebbtide_agent.host.scripts import find, problem, run_all


def a_script(directory: Path, name: str, body: str = "exit 0", mode: int = 0o755) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{body}\n")
    (directory / name).chmod(mode)


def test_only_executables_that_start_with_two_digits_run_in_order(tmp_path: Path) -> None:
    for name in ("20-b", "10-a", "05", "1-no", "x10", "30-c.disabled"):
        a_script(tmp_path, name)
    a_script(tmp_path, "15-not-executable", mode=0o644)

    assert [path.name for path in find(tmp_path)] == ["05", "10-a", "20-b", "30-c.disabled"]


def test_no_directory_no_scripts(tmp_path: Path) -> None:
    assert find(tmp_path / "none") == []


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "echo out; echo err >&2")

    (result,) = run_all(tmp_path, 10)

    assert (result.name, result.exit_code, result.output) == ("10-a", 0, "out\nerr\n")
    assert problem(result, 10) is None


def test_only_the_end_of_much_output_is_kept(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "yes | head -c 3000000; echo; echo last")

    (result,) = run_all(tmp_path, 60)

    assert len(result.output) == 4096
    assert result.output.endswith("last\n")


def test_the_first_that_fails_is_the_last(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", "exit 3")
    a_script(tmp_path, "20-b", f"touch {tmp_path}/reached")

    results = list(run_all(tmp_path, 10))

    assert [problem(result, 10) for result in results] == ["script 10-a ended with exit code 3; nothing was pushed"]
    assert not (tmp_path / "reached").exists()


@pytest.mark.fault("H2")
def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    a_script(tmp_path, "10-a", f"sleep 600 & echo $! >{tmp_path}/child; wait")

    (result,) = run_all(tmp_path, 1.0)

    child = (tmp_path / "child").read_text().strip()
    assert problem(result, 1.0) == "script 10-a was killed after 1 s; nothing was pushed"
    assert not Path(f"/proc/{child}/cmdline").exists() or Path(f"/proc/{child}/cmdline").read_bytes() == b""


def test_what_cannot_be_executed_is_a_failure_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "10-a").write_text("#!/no/such/interpreter\n")
    (tmp_path / "10-a").chmod(0o755)

    (result,) = run_all(tmp_path, 10)

    assert result.exit_code in (126, 127)
