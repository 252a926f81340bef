"""When a restored image has answered, which is what RTO is measured by; and which step it is at meanwhile."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent import moments
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import TransientError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore import progress as rooms
from ebbtide_agent.restore import session
from ebbtide_agent.restore.boot_image import Boot
from ebbtide_agent.restore.compare import MOST_FINDINGS, Comparison
from ebbtide_agent.restore.inits import SYSTEMD
from ebbtide_agent.restore.probe import Answer
from ebbtide_agent.restore.progress import Progress
from ebbtide_agent.restore.recovery import BootOutcome, Brief, Standing, Times, encode_standing

MOMENTS = [datetime(2026, 11, 23, 9, minute, tzinfo=UTC) for minute in range(4)]
URL = "http://127.0.0.1/"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="entering the network of an image needs root")


@pytest.mark.parametrize(
    ("probe", "ok", "leader", "answered"),
    [
        (URL, True, 42, MOMENTS[1]),
        (URL, False, 42, None),
        (None, True, 42, MOMENTS[1]),
        (None, True, None, None),
    ],
    ids=["it answers", "it answers wrongly", "nobody asks", "it is not up"],
)
def test_an_image_has_answered_once_its_probe_is_well_or_once_it_is_up_if_it_has_none(
    probe: str | None,
    ok: bool,
    leader: int | None,
    answered: datetime | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rooms, "probe", lambda target, _: Answer(target, "said", ok))
    moments = iter(MOMENTS)
    progress = _Booted(_brief(probe), MachinePaths(tmp_path), _Archive(), lambda: next(moments))
    monkeypatch.setattr(progress, "_tell", lambda step: None)
    progress.boot = Boot(leader, None if leader else "no init", 1.0)

    with progress.tried():
        pass

    times = progress.standing().times
    assert (times.began, times.answered) == (MOMENTS[0], answered)


@needs_root
@pytest.mark.parametrize("comes", [True, False], ids=["it answers after all", "it does not"])
def test_what_stands_and_has_not_answered_is_asked_until_it_does_or_its_time_is_over(
    comes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "TOLD_WITHIN_SECONDS", 0)
    monkeypatch.setattr(rooms, "_PAUSE_SECONDS", 0.01)
    with socket.socket() as service, a_process() as leader:
        service.bind(("127.0.0.1", 0))
        probe = f"tcp://127.0.0.1:{service.getsockname()[1]}"
        archive, compared = _Archive(), threading.Event()
        progress = _Booted(replace(_brief(probe), stays=True), MachinePaths(tmp_path), archive, lambda: MOMENTS[1])
        progress.boot = Boot(leader, None, 1.0)
        with progress.tried() as boot:
            at_first = progress.standing()
            if comes:
                service.listen()
            else:
                compared.set()
                monkeypatch.setattr(rooms, "ANSWERS_WITHIN_SECONDS", 0)
            progress.go_on_asking(boot, compared)
            progress.take(Comparison(60, 0, 0, 0, 0, ()))

        report = progress.report(progress.judge())

    assert at_first.probe and not at_first.probe.ok
    assert at_first.times.answered is None
    assert (report.verdict, report.times.answered) == (("proven", MOMENTS[1]) if comes else ("content only", None))
    assert (report.compared.findings == ()) is comes


@needs_root
def test_a_server_that_is_told_to_stand_before_it_answers_is_reported_with_when_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "TOLD_WITHIN_SECONDS", 0)
    monkeypatch.setattr(rooms, "_PAUSE_SECONDS", 0.01)
    paths, archive = MachinePaths(tmp_path), _Archive()
    paths.tree("us0a").mkdir(parents=True)
    paths.run.mkdir(parents=True)
    with socket.socket() as service, a_process() as leader:
        service.bind(("127.0.0.1", 0))
        probe = f"tcp://127.0.0.1:{service.getsockname()[1]}"
        progress = _Booted(replace(_brief(probe), stays=True), paths, archive, lambda: MOMENTS[1])
        progress.boot = Boot(leader, None, 1.0)
        with progress.tried() as boot:
            meanwhile = session._Meanwhile(progress, archive)
            meanwhile.begin(boot)
            service.listen()
            meanwhile.await_end()

    report = json.loads(archive.objects["recoveries/us0a/2026-11-23/1/report.json"])
    assert (report["probe"]["ok"], report["answered"]) == (True, moments.write(MOMENTS[1]))
    assert "compare" in report["timings"]


def test_of_a_server_that_does_not_answer_it_is_told_before_it_is_compared_what_has_failed_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = (r"`\x1b.service` has failed: it said nothing", "`nginx.service` has failed: " + "x" * 200)
    monkeypatch.setattr(rooms, "init_of", lambda _: SYSTEMD)
    monkeypatch.setattr(rooms, "failed_units", lambda _: failures)
    monkeypatch.setattr(rooms, "probe", lambda target, *_: Answer(target, "refused", False))
    progress = _Booted(replace(_brief(URL), stays=True), MachinePaths(tmp_path), _Archive(), lambda: MOMENTS[1])

    with progress.tried():
        standing = json.loads(encode_standing(progress.standing()))
    progress.take(Comparison(60, 0, 0, 0, 0, ()))

    report = progress.report(progress.judge())
    assert report.compared.findings == (f"{URL}: refused", *standing["failed"])
    assert "`nginx.service` has failed: xxx" in standing["failed"][1]


def test_a_server_that_stands_is_told_as_in_the_example() -> None:
    example = json.loads(Path("tests/contract/wire/recovery-standing.json").read_text())
    began, answered, since = (moments.read(example[each]) for each in ("began", "answered", "since"))
    standing = Standing(
        recovery=example["recovery"],
        host="us0",
        id="us0a",
        boot=BootOutcome(is_up=True, why=None, seconds=12.4),
        probe=Answer(URL, "200 OK", ok=True),
        failed=(),
        times=Times(began, answered, example["timings"]),
        since=since,
    )

    assert json.loads(encode_standing(standing)) == example


@needs_root
def test_what_has_ended_is_asked_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "TOLD_WITHIN_SECONDS", 0)
    stays = replace(_brief("tcp://127.0.0.1:9"), stays=True)
    progress = _Booted(stays, MachinePaths(tmp_path), _Archive(), lambda: MOMENTS[1])
    with a_process() as leader:
        progress.boot = Boot(leader, None, 1.0)
        with progress.tried() as boot:
            last = progress.standing().probe

    progress.go_on_asking(boot, threading.Event())

    assert progress.standing().probe == last
    assert last and "Connection refused" in last.answer


def test_each_step_is_told_as_it_begins_by_the_attempt_that_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "probe", lambda target, _: Answer(target, "said", True))
    archive = _Archive()
    progress = _Booted(replace(_brief(URL), attempt=2), MachinePaths(tmp_path), archive, lambda: MOMENTS[0])

    with progress.tried():
        pass

    assert [*archive.objects] == [f"recoveries/us0a/2026-11-23/1/begun/2/{step}.json" for step in ("boot", "probe")]


def test_a_step_is_told_as_in_the_example(tmp_path: Path) -> None:
    example = json.loads(Path("tests/contract/wire/recovery-step.json").read_text())
    archive = _Archive()
    begun = moments.read(example["begun"])
    progress = Progress(_brief(URL), MachinePaths(tmp_path), archive, lambda: begun)

    progress._tell("materialise")

    (body,) = archive.objects.values()
    assert json.loads(body) == example


def test_a_step_that_cannot_be_told_is_taken_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "probe", lambda target, _: Answer(target, "said", True))
    progress = _Booted(_brief(URL), MachinePaths(tmp_path), _Archive(is_out=True), lambda: MOMENTS[0])

    with progress.tried():
        pass

    assert progress.standing().times.answered == MOMENTS[0]


@pytest.mark.parametrize("differences", [1, MOST_FINDINGS])
def test_what_an_image_does_not_see_of_its_tree_comes_behind_what_the_verdict_is_for(
    differences: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "probe", lambda target, _: Answer(target, "said", True))
    findings = tuple(f"etc/{number}: mode" for number in range(differences))
    progress = _Booted(_brief(URL), MachinePaths(tmp_path), _Archive(), lambda: MOMENTS[0])
    with progress.tried():
        progress.take(Comparison(60, 0, 0, differences, 0, findings, unseen="not seen as they are"))

    verdict = progress.judge()

    told = progress.report(verdict).compared.findings
    assert verdict == "different"
    assert told == (*findings, "not seen as they are")[:MOST_FINDINGS]


@contextmanager
def a_process() -> Iterator[int]:
    """That stands for the init of an image, in the network that we have."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process.pid
        process.kill()


class _Archive(Cloud):
    def __init__(self, is_out: bool = False) -> None:
        super().__init__("archive", "eu-west-1")
        self.is_out = is_out
        self.objects: dict[str, bytes] = {}

    def put_once(self, key: str, body: bytes | Path) -> bool:
        if self.is_out:
            raise TransientError("the archive is out")
        self.objects[key] = body if isinstance(body, bytes) else body.read_bytes()
        return True

    def send_event(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Nobody listens."""


class _Booted(Progress):
    """Whose image is up, or is not, at once."""

    boot = Boot(42, None, 1.0)

    @contextmanager
    def booted(self) -> Iterator[Boot]:
        yield self.boot


def _brief(probe: str | None) -> Brief:
    run = "main/2026-11-23/1"
    return Brief("us0a/2026-11-23/1", False, "us0", "us0", "us0a", run, "vol-1", "real", None, None, probe)
