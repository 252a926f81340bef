"""A first push that outlasts two windows: it goes on each night where it was cut off, and status says how far it is."""

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from ebbtide_agent.errors import AgentError
from ebbtide_agent.host import night
from ebbtide_agent.host.link import World
from ebbtide_agent.host.standing import Standing, standing_of
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import COMPLETE, PARTIAL
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws, wait_until

IS_ROOT = os.geteuid() == 0
FILES, SIZE = 48, 1_000_000
# What sockets hold when a connection is cut was sent, and did not arrive.
ON_THE_WAY = 5 * SIZE
WHOLE = FILES * SIZE

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, ("us0",)) as receiver:
        yield receiver


def test_three_nights_make_one_first_push(receiver: Receiver, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(FILES):
        (tree / f"{number:02}").write_bytes(os.urandom(SIZE))
    paths = receiver.configure("us0", tree, tmp_path / "etc", BANDWIDTH="4m", WHOLE_SYSTEM="no")

    first = a_window_that_ends(receiver, paths)
    receiver.next_night("main/2026-11-24/1")
    second = a_window_that_ends(receiver, paths)
    receiver.next_night("main/2026-11-25/1")
    receiver.configure("us0", tree, tmp_path / "etc", WHOLE_SYSTEM="no")
    third = night.run(night.Night(paths, World(lambda: datetime.now(UTC)), os.environ))

    pushes = [standing.long_push for standing in (first, second)]
    assert [standing.last and standing.last.status for standing in (first, second)] == [PARTIAL, PARTIAL]
    assert [push and push.nights for push in pushes] == [1, 2]
    assert all(push and push.done_by and push.total == WHOLE for push in pushes)
    assert pushes[0] and pushes[1] and 10 <= pushes[0].percent < pushes[1].percent <= 99
    assert third.status == COMPLETE
    assert third.bytes_sent < WHOLE - pushes[1].sent + 2 * ON_THE_WAY < WHOLE, "what was there already was sent again"
    assert standing_of(paths).long_push is None
    assert {path.name: path.read_bytes() for path in receiver.tree("us0").iterdir()} == {
        path.name: path.read_bytes() for path in tree.iterdir()
    }


def a_window_that_ends(receiver: Receiver, paths: HostPaths) -> Standing:
    """A night whose receiver lets go in the middle of the push, and how the host stands then."""
    clock = Clock()
    ending = Thread(target=end_the_window, args=(receiver, arrived(receiver) + 3 * SIZE, clock))
    ending.start()
    # Whether the report is still heard depends on how far the receiver is with letting go.
    with contextlib.suppress(AgentError):
        night.run(night.Night(paths, World(clock.now, sleep=lambda _: None), os.environ))
    ending.join()
    return standing_of(paths)


def end_the_window(receiver: Receiver, at: int, clock: "Clock") -> None:
    wait_until(lambda: arrived(receiver) >= at, f"{at} bytes")
    clock.ahead = timedelta(hours=2)
    receiver.process.send_signal(signal.SIGTERM)


def arrived(receiver: Receiver) -> int:
    return sum(path.stat().st_size for path in receiver.tree("us0").glob("[0-9]*"))


class Clock:
    """The host's; once the window is over, two hours go by whenever somebody looks."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._passed = timedelta()

    def now(self) -> datetime:
        self._passed += self.ahead
        return datetime.now(UTC) + self._passed
