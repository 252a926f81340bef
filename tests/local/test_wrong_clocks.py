"""Wrong clocks: when the nights of hosts were is the receiver's to say, and that one asks the archive first."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chalicelib import wire
from ebbtide_agent.host import night
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.way import way_to
from ebbtide_agent.moments import read
from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws, report_key

IS_ROOT = os.geteuid() == 0
A_DAY = timedelta(days=1)
Clock = Callable[[], datetime]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    # The last one never reports, so that the receiver stays.
    hosts = ("us0", "us1", "us2", "us3")
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, hosts) as receiver:
        yield receiver


def off_by(difference: timedelta) -> Clock:
    return lambda: datetime.now(UTC) + difference


def set_back_by(difference: timedelta, after: int) -> Clock:
    """Right when it is looked at for the first few times, and then no more."""
    looks = iter(range(after))
    return lambda: datetime.now(UTC) - (timedelta(0) if next(looks, None) is not None else difference)


@pytest.mark.fault("H8")
@pytest.mark.parametrize(
    ("host", "clock", "warned"),
    [
        ("us0", off_by(A_DAY), "s ahead of the receiver"),
        ("us1", off_by(-A_DAY), "s behind the receiver"),
        ("us2", set_back_by(A_DAY, after=4), ""),
    ],
    ids=["ahead", "behind", "set back in the middle"],
)
def test_when_a_night_was_recorded_is_the_receivers_to_say(
    receiver: Receiver, host: str, clock: Clock, warned: str, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    paths = receiver.configure(host, tmp_path / "tree", tmp_path / "etc", WHOLE_SYSTEM="no")
    before = datetime.now(UTC).replace(microsecond=0)

    night.run(night.Night(paths, World(clock), os.environ))

    body = receiver.aws.body(report_key(receiver.hosts[host].id))
    recorded = json.loads(body)
    assert before <= read(recorded["receiver"]["received"]) <= datetime.now(UTC)
    assert warned in " ".join(recorded["problems"])
    assert recorded["status"] in ("complete", "complete-with-warnings")
    assert wire.parse_report(body).result.status.is_complete
    assert (receiver.tree(host) / "file").read_text() == "content"


@pytest.mark.fault("H8")
def test_how_much_time_is_left_is_the_receivers_to_say(receiver: Receiver, tmp_path: Path) -> None:
    paths, clock = receiver.configure("us3", tmp_path, tmp_path / "etc"), off_by(A_DAY)

    hello = way_to(load(paths), paths, World(clock)).hello(clock() + timedelta(minutes=1))

    # By the receiver's clock it is an hour at most.
    assert clock() < hello.deadline <= clock() + timedelta(hours=1)
