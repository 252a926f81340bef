"""A receiver that is lost between a push and its record, with real parts: its successor sees the push once more."""

import os
import shutil
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.errors import Unseen
from ebbtide_agent.host import night
from ebbtide_agent.host.link import World
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import Report
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, Receiver, a_receiver, an_aws

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
KIND = confine.SEPARATE if os.geteuid() == 0 else confine.OWN


def lose(receiver: Receiver) -> None:
    """Have another machine in its place, in the same run and with the same volume, that knows nothing of it."""
    os.killpg(receiver.process.pid, signal.SIGKILL)
    receiver.process.wait(PATIENCE_SECONDS)
    shutil.rmtree(receiver.root / "run")
    receiver.process = receiver.start()
    receiver.wait_until_ready()


@dataclass
class Host:
    """us0, which says hello to a receiver; when it says that its push is complete, that one is lost so many times."""

    receiver: Receiver
    place: Path
    losses: int = 0

    def back_up(self) -> Report:
        tree = self.place / "tree"
        if not tree.exists():
            tree.mkdir()
            (tree / "file").write_text("of us0")
        paths = self.receiver.configure("us0", tree, self.place / "etc")
        self.said: list[str] = []
        return night.run(night.Night(paths, World(lambda: datetime.now(UTC), say=self._say), os.environ))

    def _say(self, line: str) -> None:
        self.said.append(line)
        if line.startswith("push: complete") and self.losses:
            self.losses -= 1
            lose(self.receiver)


@pytest.mark.fault("R7")
def test_a_receiver_that_is_lost_between_a_push_and_its_record_costs_the_host_no_night(tmp_path: Path) -> None:
    with an_aws() as aws, a_receiver(aws, KIND, ("us0",)) as receiver:
        host = Host(receiver, tmp_path, losses=1)

        recorded = host.back_up()

        assert recorded.status == "complete", (recorded.problems, receiver.log())
        assert recorded.receiver and recorded.receiver.manifest
        assert [line.partition(":")[0] for line in host.said].count("hello") == 2
        assert (receiver.report("us0") or {})["status"] == "complete"
        assert (receiver.tree("us0") / "file").read_text() == "of us0"


@pytest.mark.fault("R7")
def test_a_host_pushes_once_more_and_no_oftener_and_may_be_run_again(tmp_path: Path) -> None:
    with an_aws() as aws, a_receiver(aws, KIND, ("us0",)) as receiver:
        host = Host(receiver, tmp_path, losses=2)

        with pytest.raises(Unseen, match=r"has seen no push of us0a, .*: us0 has to push once more"):
            host.back_up()

        assert receiver.report("us0") is None
        assert host.back_up().status == "complete"
