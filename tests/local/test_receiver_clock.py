"""A receiver whose own clock is wrong: it asks the archive what time it is before anybody is let in."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import (
    MISSING,
    PATIENCE_SECONDS,
    Receiver,
    a_receiver,
    an_aws,
    unpacked,
    wait_until,
)
from tools.build_agent import build

IS_ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

# The agent's own main process, as patient as is said first, on a machine whose clock is so many seconds off at each
# look; at the last for good.
A_MACHINE = """
import sys
from datetime import datetime, timedelta, timezone
from itertools import chain, repeat
from pathlib import Path

sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
from ebbtide_agent import __main__ as agent, program
from ebbtide_agent.receiver import clock

patience, *seconds = map(float, Path(sys.argv[1]).read_text().split())
clock.PATIENCE_SECONDS, clock.PAUSE_SECONDS = patience, 0.1
looks = chain(seconds, repeat(seconds[-1]))
program._now = lambda: datetime.now(timezone.utc) + timedelta(seconds=next(looks))
sys.exit(agent.main(["receiver", "boot"]))
"""


@contextmanager
def a_receiver_whose_clock_is(off: Path, seconds: str) -> Iterator[Receiver]:
    """One that is ready; what the file says goes for each machine that begins after it."""
    driver = off.with_name("machine.py")
    driver.write_text(A_MACHINE)
    off.write_text(f"{PATIENCE_SECONDS} {seconds}")
    program, kind = (str(driver), str(unpacked(build)), str(off)), confine.SEPARATE if IS_ROOT else confine.OWN
    with an_aws() as aws, a_receiver(aws, kind, ("us0",), program=program) as receiver:
        yield receiver


def be_attempt(number: int, receiver: Receiver) -> None:
    instance = receiver.root / "etc/ebbtide/instance.json"
    instance.write_text(json.dumps({**json.loads(instance.read_text()), "attempt": number}))


@pytest.mark.fault("R12")
def test_a_receiver_lets_nobody_in_before_its_clock_is_right(tmp_path: Path) -> None:
    off = tmp_path / "off"
    with a_receiver_whose_clock_is(off, "-3600 -3600 -3600 -3600 0") as receiver:
        waited, ready = receiver.log().index("s behind the archive's; waiting"), receiver.log().index("ready on port")
        hello = receiver.ssh("us0", "hello")
        receiver.process.terminate()
        receiver.process.wait(PATIENCE_SECONDS)

        assert waited < ready
        assert hello.returncode == 0, hello.stderr

        be_attempt(2, receiver)
        (receiver.root / "run/ebbtide/sshd.log").unlink()
        off.write_text("1 3600")
        receiver.process = receiver.start()

        assert receiver.process.wait(PATIENCE_SECONDS) == 1
        assert "s ahead of the archive's, and did not become right" in receiver.log()
        assert "Traceback" not in receiver.log()
        assert receiver.word("ready", 2) is None
        refused = receiver.word("refused", 2)
        assert refused and "s ahead of the archive's, and did not become right" in refused["why"]
        assert not (receiver.root / "run/ebbtide/sshd.log").exists()


@pytest.mark.fault("R12")
def test_a_receiver_that_is_told_to_stop_meanwhile_goes_at_once_and_says_no_word(tmp_path: Path) -> None:
    off = tmp_path / "off"
    with a_receiver_whose_clock_is(off, "0") as receiver:
        receiver.process.terminate()
        receiver.process.wait(PATIENCE_SECONDS)
        be_attempt(2, receiver)
        off.write_text(f"{PATIENCE_SECONDS} 3600")
        receiver.process = receiver.start()
        wait_until(lambda: "waiting for the time service" in receiver.log(), "its look at the clock")

        receiver.process.terminate()

        assert receiver.process.wait(PATIENCE_SECONDS / 2) == 143
        assert "ebbtide: told to stop before anybody was let in" in receiver.log()
        assert [receiver.word(what, 2) for what in ("ready", "refused", "released")] == [None] * 3
