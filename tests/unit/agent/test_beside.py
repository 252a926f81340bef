"""Work in a process of its own gives what it would have given here, and never outlives who asked for it."""

import fcntl
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide_agent import beside as module
from ebbtide_agent import procs
from ebbtide_agent.beside import Interfered, beside
from ebbtide_agent.errors import ConfigError, PermanentError, TransientError


def test_what_it_yields_arrives_in_order_and_was_made_elsewhere() -> None:
    with beside("counting", lambda: ((number, os.getpid()) for number in range(1000))) as items:
        found = list(items)

    assert [number for number, _ in found] == list(range(1000))
    assert os.getpid() not in {where for _, where in found}


def test_work_that_yields_nothing_comes_to_its_end() -> None:
    with beside("nothing", lambda: ()) as items:
        assert list(items) == []


def test_a_process_that_cannot_be_made_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(os, "fork", fork)
    descriptors = Path("/proc/self/fd")
    open_before, mask = set(descriptors.iterdir()), signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with pytest.raises(BlockingIOError), beside("nothing", lambda: ()):
        raise AssertionError

    assert set(descriptors.iterdir()) == open_before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


@pytest.mark.parametrize("before", [0, 1, 64, 100])
def test_what_it_raises_is_raised_here_after_what_came_before(before: int) -> None:
    def work() -> Iterator[int]:
        yield from range(before)
        raise TransientError("not today")

    seen = []
    with pytest.raises(TransientError, match="not today"), beside("failing", work) as items:
        for item in items:
            seen.append(item)

    assert seen == list(range(before))


class _Twofold(Exception):
    """Packed it says less than it takes to make it again."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class _WithALock(Exception):
    """It cannot be packed at all."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.lock = threading.Lock()


@pytest.mark.parametrize("error", [_Twofold("a knot", "the tree"), _WithALock("a knot in the tree")], ids=repr)
def test_an_error_that_cannot_travel_says_here_what_it_was(error: Exception) -> None:
    def work() -> Iterator[int]:
        yield 1
        raise error

    said = f"^{type(error).__name__}: a knot in the tree$"
    with pytest.raises(PermanentError, match=said), beside("the scan", work) as items:
        list(items)


def test_the_faults_of_a_configuration_arrive_one_by_one() -> None:
    faults = ("one fault", "another one")

    def work() -> Iterator[int]:
        raise ConfigError(faults)
        yield

    with pytest.raises(ConfigError, match=r"^one fault\nanother one$") as raised, beside("reading", work) as items:
        list(items)

    assert raised.value.faults == faults


def test_somebody_who_ends_it_is_told_from_an_end() -> None:
    def work() -> Iterator[int]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield 1

    with pytest.raises(PermanentError, match="the scan was ended from outside"), beside("the scan", work) as items:
        list(items)


def test_whoever_leaves_early_leaves_no_process_behind() -> None:
    def work() -> Iterator[int]:
        yield os.getpid()
        yield from range(10**12)

    with pytest.raises(KeyError), beside("for ever", work) as items:
        process = next(items)
        raise KeyError

    assert not Path(f"/proc/{process}").exists()


def test_whoever_leaves_early_leaves_none_behind_that_this_one_has_begun() -> None:
    # So much, and then so many, that the first of it does not wait in a buffer.
    ballast, many = bytes(1 << 12), 1000

    def within() -> Iterator[tuple[int, bytes]]:
        yield from ((os.getpid(), ballast) for _ in range(many))
        time.sleep(30)

    def work() -> Iterator[tuple[int, bytes]]:
        with beside("within", within) as items:
            yield from items

    with pytest.raises(KeyError), beside("around", work) as items:
        process, _ = next(items)
        raise KeyError

    assert not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("depth", [1, 2])
def test_whoever_does_not_hear_that_it_shall_end_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, depth: int
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 3.0)
    monkeypatch.setattr(module, "_PATIENCE_BELOW_SECONDS", 0.1)
    told = tmp_path / "told"
    os.mkfifo(told)

    def stop(_: int) -> Iterator[int]:
        told.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        yield 1

    def around(below: int) -> Iterator[int]:
        with beside("below", lambda: works[below](below - 1)) as items:
            yield from items

    works = {1: stop, 2: around}
    with beside("the scan", lambda: works[depth](depth - 1)):
        process = int(told.read_text())

    assert not Path(f"/proc/{process}").exists() or "Z (zombie)" in Path(f"/proc/{process}/status").read_text()


def test_what_goes_no_further_after_a_while_is_waited_for_no_longer() -> None:
    # A bunch that does not wait in a buffer.
    ballast, many = bytes(1 << 14), 64

    def work() -> Iterator[bytes]:
        yield from (ballast for _ in range(many))
        time.sleep(60)

    seen = []
    with pytest.raises(Interfered, match="not done within"), beside("the scan", work, within=2.0) as items:
        for item in items:
            seen.append(item)

    assert seen == [ballast] * many


def test_whoever_leaves_at_any_moment_leaves_nobody_who_holds_what_was_ours(tmp_path: Path) -> None:
    def work() -> Iterator[int]:
        with beside("within", lambda: range(3)) as items:
            yield from items

    for _ in range(100):
        with (tmp_path / "lock").open("w") as ours:
            fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with beside("around", work):
                time.sleep(random.random() * 0.006)


def test_a_signal_while_it_is_being_ended_is_heard_once_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = os.kill

    def signalled_and_kill(process: int, number: int) -> None:
        signal.raise_signal(signal.SIGTERM)
        kill(process, number)

    # A bunch that does not wait in a buffer, and that a pipe has room for.
    ballast, many = bytes(1 << 14), 64

    def work() -> Iterator[tuple[int, bytes]]:
        yield from ((os.getpid(), ballast) for _ in range(many))
        time.sleep(30)

    before = signal.getsignal(signal.SIGTERM)
    procs.stop_on(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit), beside("the scan", work) as items:
            process, _ = next(items)
            monkeypatch.setattr(os, "kill", signalled_and_kill)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert not Path(f"/proc/{process}").exists()


def test_a_signal_before_it_has_begun_ends_it_and_runs_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fork, us, ran_ours = os.fork, os.getpid(), tmp_path / "ran"

    def fork_and_end() -> int:
        child = fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return child

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(os, "fork", fork_and_end)
    procs.stop_on(signal.SIGTERM)
    try:
        with pytest.raises(PermanentError, match="ended from outside"), beside("the scan", lambda: (1,)) as items:
            list(items)
    finally:
        # What our handler does here it would do in the middle of a night, with all that a night has open.
        if os.getpid() != us:
            ran_ours.touch()
            os._exit(1)
        signal.signal(signal.SIGTERM, before)

    assert not ran_ours.exists()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
