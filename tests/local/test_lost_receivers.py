"""A receiver that is stopped or lost before it has recorded a push, with real parts: its successor takes it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moto.s3.models import S3Backend

from ebbtide_agent.errors import Unseen
from ebbtide_agent.host import night
from ebbtide_agent.host.link import World
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import Report
from tests.local.processes import below
from tests.local.receiver_machine import (
    MISSING,
    PATIENCE_SECONDS,
    Receiver,
    a_receiver,
    an_aws,
    arrived,
    report_key,
    wait_until,
)

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
ENOUGH = 200_000
KIND = confine.SEPARATE if os.geteuid() == 0 else confine.OWN


def lose(receiver: Receiver) -> None:
    """Have another machine in its place, in the same run and with the same volume, that knows nothing of it."""
    os.killpg(receiver.process.pid, signal.SIGKILL)
    replace(receiver)


def replace(receiver: Receiver) -> None:
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
    settings: dict[str, str] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep

    def back_up(self) -> Report:
        tree = self.place / "tree"
        if not tree.exists():
            tree.mkdir()
            (tree / "file").write_bytes(os.urandom(2 << 20))
        paths = self.receiver.configure("us0", tree, self.place / "etc", **self.settings)
        self.said: list[str] = []
        return night.run(night.Night(paths, World(lambda: datetime.now(UTC), self.sleep, say=self._say), os.environ))

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
        assert (receiver.tree("us0") / "file").read_bytes() == (tmp_path / "tree/file").read_bytes()


@pytest.mark.fault("R7")
def test_a_host_pushes_once_more_and_no_oftener_and_may_be_run_again(tmp_path: Path) -> None:
    with an_aws() as aws, a_receiver(aws, KIND, ("us0",)) as receiver:
        host = Host(receiver, tmp_path, losses=2)

        with pytest.raises(Unseen, match=r"has seen no push of us0a, .*: us0 has to push once more"):
            host.back_up()

        assert receiver.report("us0") is None
        assert host.back_up().status == "complete"


@pytest.mark.fault("R7")
def test_a_push_that_was_cut_off_because_its_receiver_was_stopped_is_gone_on_with_at_the_next_one(
    tmp_path: Path,
) -> None:
    with an_aws() as aws, a_receiver(aws, KIND, ("us0",)) as receiver, ThreadPoolExecutor(1) as beside:

        def stop_it_during_the_push() -> int:
            wait_until(lambda: arrived(receiver.tree("us0") / "file") > ENOUGH, "some of the file")
            receiver.process.terminate()
            code = receiver.process.wait(PATIENCE_SECONDS)
            replace(receiver)
            return code

        stopping = beside.submit(stop_it_during_the_push)
        recorded = Host(receiver, tmp_path, settings={"BANDWIDTH": "300k"}).back_up()

        assert stopping.result() == 0, receiver.log()
        assert recorded.status == "complete", (recorded.problems, receiver.log())
        assert (receiver.word("released") or {})["clean"] is True
        assert (receiver.tree("us0") / "file").read_bytes() == (tmp_path / "tree/file").read_bytes()


OF_A_HOST_THAT_MEANS_IT = {"WHOLE_SYSTEM": "no", "SHRINK": "no", "REWRITE": "no"}


class GivenUp(Exception):
    """By a host, at once."""


def give_up(_: float) -> None:
    raise GivenUp


def loses_its_machine(receiver: Receiver, when_is_written: str, monkeypatch: pytest.MonkeyPatch, is_kept: bool) -> None:
    """Once this object is written, or before that, nothing of the machine is there any more; nobody was answered."""
    put: Callable[..., Any] = S3Backend.put_object

    def put_and_lose(backend: S3Backend, bucket: str, key: str, *rest: Any, **more: Any) -> Any:
        kept = put(backend, bucket, key, *rest, **more) if is_kept or key != when_is_written else None
        if key == when_is_written:
            for process in (receiver.process.pid, *below(receiver.process.pid)):
                os.kill(process, signal.SIGKILL)
        return kept

    monkeypatch.setattr(S3Backend, "put_object", put_and_lose)


@pytest.mark.fault("R7")
@pytest.mark.parametrize(("is_recorded", "next_one"), [(True, "complete"), (False, "suspect")])
def test_a_receiver_that_is_lost_right_after_it_has_recorded_a_meant_loss_has_no_later_night_held_as_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_recorded: bool, next_one: str
) -> None:
    """And one that was lost right before: what was never on record is nothing that a night is compared with."""
    with an_aws() as aws, a_receiver(aws, KIND, ("us0",)) as receiver:
        host = Host(receiver, tmp_path, settings=OF_A_HOST_THAT_MEANS_IT)
        (tmp_path / "tree").mkdir()
        files = [tmp_path / "tree" / f"file-{number}" for number in range(200)]
        for file in files:
            file.touch()
        assert host.back_up().status == "complete"

        for file in files[:150]:
            file.unlink()
        lost = "main/2026-11-24/1"
        receiver.next_night(lost, guarded=False)
        with monkeypatch.context() as machine, pytest.raises(GivenUp):
            loses_its_machine(receiver, report_key("us0a", lost), machine, is_recorded)
            replaced(host, sleep=give_up).back_up()
        assert (receiver.report("us0") is not None) == is_recorded
        receiver.next_night("main/2026-11-25/1")

        recorded = host.back_up()

        assert recorded.status == next_one, recorded.problems
