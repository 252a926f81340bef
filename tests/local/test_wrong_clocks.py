"""Wrong clocks: when the nights of hosts were is the receiver's to say, and that one asks the archive first."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chalicelib import wire
from ebbtide_agent.host import night
from ebbtide_agent.host.link import World
from ebbtide_agent.moments import read
from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, Receiver, a_receiver, an_aws, unpacked
from tools.build_agent import build

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

    body = receiver.aws.body(f"reports/{receiver.run}/{receiver.hosts[host].id}.json")
    recorded = json.loads(body)
    assert before <= read(recorded["receiver"]["received"]) <= datetime.now(UTC)
    assert warned in " ".join(recorded["problems"])
    assert recorded["status"] in ("complete", "complete-with-warnings")
    assert wire.parse_report(body).result.status.is_complete
    assert (receiver.tree(host) / "file").read_text() == "content"


# The agent's own main process on a machine whose clock is so many seconds off at each look; at the last for good.
A_MACHINE = """
import sys
from datetime import datetime, timedelta, timezone
from itertools import chain, repeat
from pathlib import Path

sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
from ebbtide_agent import __main__ as agent, program
from ebbtide_agent.receiver import clock

clock.PATIENCE_SECONDS, clock.PAUSE_SECONDS = 2.0, 0.1
seconds = [float(word) for word in Path(sys.argv[1]).read_text().split()]
looks = chain(seconds, repeat(seconds[-1]))
program._now = lambda: datetime.now(timezone.utc) + timedelta(seconds=next(looks))
sys.exit(agent.main(["receiver", "boot"]))
"""


@pytest.mark.fault("R12")
def test_a_receiver_lets_nobody_in_before_its_clock_is_right(tmp_path: Path) -> None:
    driver, off = tmp_path / "machine.py", tmp_path / "off"
    driver.write_text(A_MACHINE)
    off.write_text("-3600 -3600 -3600 -3600 0")
    program, kind = (str(driver), str(unpacked(build)), str(off)), confine.SEPARATE if IS_ROOT else confine.OWN
    with an_aws() as aws, a_receiver(aws, kind, ("us0",), program=program) as receiver:
        waited, ready = receiver.log().index("s behind the archive's; waiting"), receiver.log().index("ready on port")
        hello = receiver.ssh("us0", "hello")
        receiver.process.terminate()
        receiver.process.wait(PATIENCE_SECONDS)

        assert waited < ready
        assert hello.returncode == 0, hello.stderr

        instance = receiver.root / "etc/ebbtide/instance.json"
        instance.write_text(json.dumps({**json.loads(instance.read_text()), "attempt": 2}))
        (receiver.root / "run/ebbtide/sshd.log").unlink()
        off.write_text("3600")
        receiver.process = receiver.start()

        assert receiver.process.wait(PATIENCE_SECONDS) == 1
        assert "s ahead of the archive's, and did not become right" in receiver.log()
        assert "Traceback" not in receiver.log()
        assert aws.find(f"runs/{receiver.run}/ready/2.json") is None
        assert not (receiver.root / "run/ebbtide/sshd.log").exists()
