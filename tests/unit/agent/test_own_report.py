"""What a host with its own volume writes and sends: in the wire's shape, kept until it is there, the archive first."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.errors import AgentError, TransientError
from ebbtide_agent.host.outbox import Outbox, send
from ebbtide_agent.host.own_report import OwnVolume, encode_own_report, letter_of, own_run
from ebbtide_agent.report import ArchivedManifest, Health, Report, ScriptResult

EXAMPLE = json.loads((Path(__file__).parents[2] / "contract/wire/host-report.json").read_text())
RUN = "host.web1/2026-11-23/7951"
MANIFEST = ArchivedManifest(**EXAMPLE["volume"]["manifest"])
A_VOLUME = OwnVolume("vol-0abc", "real", True, datetime(2026, 11, 23, 14, 12, 30, tzinfo=UTC), MANIFEST)
A_REPORT = Report(
    run=RUN,
    host="web1.example.org",
    id="web1",
    nonce="",
    status="complete",
    started=datetime(2026, 11, 23, 2, 10, tzinfo=UTC),
    finished=datetime(2026, 11, 23, 2, 12, 30, tzinfo=UTC),
    exit_code=0,
    files=8412,
    entries=9120,
    bytes_total=271_000_000,
    bytes_sent=5_100_000,
    scripts=(ScriptResult("10-dump", 0, 1.5, ""),),
    agent="0.1.0",
    rsync="3.5.0",
    os="Debian GNU/Linux 12 (bookworm)",
    arch="x86_64",
    machine="3f2a91c07d52e1aa",
    health=(Health("disk /dev/nvme0n1", "well", "passed"),),
)


class Aws:
    """An archive and a bus that remember, or do not answer."""

    def __init__(self, *out_of_reach: str) -> None:
        self.out_of_reach = out_of_reach
        self.told: list[str] = []

    def put_once(self, key: str, body: "bytes | Path") -> bool:
        return self._tell(f"put {key}", "archive")

    def send_event(self, source: str, detail_type: str, detail: Any) -> None:
        self._tell(f"{source}: {detail_type}: {detail['run']}", "bus")

    def _tell(self, what: str, whom: str) -> bool:
        if whom in self.out_of_reach:
            raise TransientError(f"{whom} is out of reach")
        self.told.append(what)
        return True


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    outbox = Outbox(tmp_path / "outbox")
    (tmp_path / "manifest").write_bytes(b"manifest")
    outbox.take_manifest(tmp_path / "manifest")
    outbox.add(RUN, encode_own_report(A_REPORT, A_VOLUME))
    return outbox


def test_the_report_has_the_shape_that_the_control_plane_reads() -> None:
    written = json.loads(encode_own_report(A_REPORT, A_VOLUME))

    assert {name: written[name] for name in EXAMPLE} == EXAMPLE
    assert not {"nonce", "receiver"} & written.keys()


def test_a_run_is_named_by_the_second_of_its_day() -> None:
    assert own_run("web1", A_REPORT.finished) == RUN
    assert own_run("web1", datetime(2026, 11, 23, tzinfo=UTC)) == "host.web1/2026-11-23/1"
    assert own_run("web1", datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)) == "host.web1/2026-11-23/86400"


def test_where_a_report_goes_follows_from_the_report() -> None:
    letter = letter_of(encode_own_report(A_REPORT, A_VOLUME))

    assert letter.report_key == "host-reports/2026-11-23/web1/7951.json"
    assert (letter.manifest_key, letter.source) == (MANIFEST.key, "ebbtide.host.web1")


def test_what_is_sent_is_the_manifest_then_the_report_then_the_event(outbox: Outbox) -> None:
    aws: Any = Aws()

    for letter in outbox.letters():
        send(letter, aws, print)

    assert aws.told == [
        f"put {MANIFEST.key}",
        "put host-reports/2026-11-23/web1/7951.json",
        f"ebbtide.host.web1: Ebbtide Host Report: {RUN}",
    ]
    assert list(outbox.letters()) == []


@pytest.mark.fault("N8")
def test_what_could_not_be_sent_is_still_there(outbox: Outbox) -> None:
    out_of_reach: Any = Aws("archive", "bus")
    (letter,) = outbox.letters()

    with pytest.raises(AgentError, match="archive is out of reach"):
        send(letter, out_of_reach, print)

    aws: Any = Aws()
    send(*outbox.letters(), aws, print)
    assert len(aws.told) == 3


@pytest.mark.fault("N8")
def test_an_event_that_is_lost_costs_nothing(outbox: Outbox) -> None:
    aws: Any = Aws("bus")
    said: list[str] = []

    send(*outbox.letters(), aws, said.append)

    assert len(aws.told) == 2 and said == ["bus is out of reach; the report is in the archive, and that will do"]
    assert list(outbox.letters()) == []


def test_what_a_night_left_without_its_report_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "manifest").touch()
    outbox = Outbox(tmp_path / "outbox")
    outbox.take_manifest(tmp_path / "manifest")

    assert list(outbox.letters()) == []
    outbox.clear()
    assert list((tmp_path / "outbox").iterdir()) == []
