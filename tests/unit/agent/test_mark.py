"""What a run leaves behind that did not come to its end, and what the next one makes of it."""

import errno
import fcntl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

import ebbtide_agent
from ebbtide_agent.errors import PermanentError, Refused, TransientError
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.mark import find_begun, marked, note_begun

LAST, TONIGHT = datetime(2026, 11, 22, 2, 10, tzinfo=UTC), datetime(2026, 11, 23, 2, 10, tzinfo=UTC)


def test_a_run_that_came_to_its_end_leaves_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "running"

    with marked(mark, LAST):
        assert mark.exists()

    assert not mark.exists()


@pytest.mark.parametrize("how", [SystemExit(143), KeyboardInterrupt()], ids=["told to stop", "interrupted"])
def test_one_that_was_stopped_is_told_by_the_next_as_a_warning(tmp_path: Path, how: BaseException) -> None:
    with pytest.raises(type(how)), marked(tmp_path / "running", LAST):
        raise how

    with marked(tmp_path / "running", TONIGHT) as remarks:
        pass

    assert [remark.status for remark in remarks] == ["complete-with-warnings"]
    assert remarks[0].problem.startswith("the run of 2026-11-22T02:10:00Z did not come to its end")


def test_one_that_failed_says_so_itself_and_leaves_what_it_found_to_be_told(tmp_path: Path) -> None:
    with pytest.raises(TransientError), marked(tmp_path / "running", LAST):
        raise TransientError("no receiver")
    assert not (tmp_path / "running").exists()
    (tmp_path / "running").write_text("2026-11-21T02:10:00Z")

    with pytest.raises(TransientError), marked(tmp_path / "running", LAST):
        raise TransientError("no receiver")

    assert (tmp_path / "running").read_text() == "2026-11-21T02:10:00Z"


@pytest.mark.fault("H7")
def test_a_second_run_of_the_same_host_leaves_with_a_clear_message(tmp_path: Path) -> None:
    hold = "import sys; from pathlib import Path; from ebbtide_agent.host.lock import locked\n"
    hold += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", hold, str(tmp_path / "state/lock")]
    package = {"PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=package) as first:
        assert first.stdout and first.stdout.readline() == b"held\n"

        with pytest.raises(Refused, match="another backup of this host is under way"), locked(tmp_path / "state/lock"):
            pass

        first.kill()
    with locked(tmp_path / "state/lock"):
        pass


def test_nobody_else_can_open_a_lock_and_hold_it(tmp_path: Path) -> None:
    of_an_earlier_agent = tmp_path / "earlier"
    of_an_earlier_agent.touch(0o644)

    for path in (tmp_path / "new", of_an_earlier_agent):
        with locked(path):
            assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_system_that_has_no_locks_is_no_place_for_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)

    with (
        pytest.raises(PermanentError, match=r"lock cannot be locked \(No locks available\)"),
        locked(tmp_path / "lock"),
    ):
        pass


def test_of_two_that_begin_at_once_the_first_time_one_holds_the_lock_and_says_when_it_began(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(100):
            lock = tmp_path / str(number) / "lock"
            both, over = (threading.Barrier(2, timeout=60) for _ in range(2))
            with ThreadPoolExecutor(2) as at_once:
                held = [at_once.submit(begin, lock, both, over) for _ in range(2)]
            assert sorted(each.result() for each in held) == [False, True]
            assert find_begun(lock) == LAST
    finally:
        sys.setswitchinterval(interval)


def begin(lock: Path, both: threading.Barrier, over: threading.Barrier) -> bool:
    """Whether this one got it; who does goes on until the other one has tried."""
    both.wait()
    try:
        with locked(lock):
            note_begun(lock, LAST)
            over.wait()
            return True
    except Refused:
        over.wait()
        return False
