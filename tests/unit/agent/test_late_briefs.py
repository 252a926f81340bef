"""A machine whose brief is not there yet: the control plane may have been interrupted between the two."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse

from ebbtide_agent import cloud
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import DeniedError, PermanentError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.restore.progress import Progress
from ebbtide_agent.restore.recovery import parse_brief

KEY, MANIFEST = "recoveries/us0a/2026-11-23/1/brief.json", "manifests/us0a/main/2026-11-23/1.jsonl.gz"
A_BRIEF = Path("tests/contract/wire/brief-recovery.json")


class Archive(Cloud):
    """The brief shows after so many looks."""

    def __init__(self, looks: int, without: Exception) -> None:
        super().__init__("archive", "us-east-1")
        self.looks, self.without = looks, without

    def get(self, key: str) -> bytes:
        self.looks -= 1
        if self.looks > 0:
            raise self.without
        return b"what it is for"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "PAUSE_SECONDS", 0.0)


whatever_is_said = pytest.mark.parametrize(
    "without", [KeyError(KEY), DeniedError("Access Denied")], ids=["it may look", "it may not"]
)


@whatever_is_said
def test_a_brief_that_comes_late_is_waited_for(without: Exception) -> None:
    assert Archive(3, without).get_brief(KEY, patience=60) == b"what it is for"


@whatever_is_said
def test_without_patience_a_brief_that_is_not_there_is_none(without: Exception) -> None:
    with pytest.raises(PermanentError, match=f"brief {KEY} is not in the archive"):
        Archive(3, without).get_brief(KEY)


# What S3 says to whoever may not list a bucket, be the object there or not.
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 403, {}, MockRawResponse(DENIED.encode()))

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    with mock_aws():
        archive = Cloud("archive", "us-east-1")
        archive._s3.meta.events.register_first("before-send.s3.GetObject", answer)
        yield archive


def test_of_what_s3_does_not_show_it_is_told_that_it_may_be_there(denied: Cloud, tmp_path: Path) -> None:
    brief = replace(parse_brief(A_BRIEF.read_bytes()), manifest=MANIFEST)
    progress = Progress(brief, MachinePaths(tmp_path), denied, lambda: datetime.now(UTC))

    with pytest.raises(PermanentError) as without_brief:
        denied.get_brief(KEY)
    with pytest.raises(PermanentError) as without_manifest:
        progress._fetch_manifest()

    told = "is not in the archive, or is kept from this machine (object {}: An error occurred (AccessDenied) when"
    assert str(without_brief.value).startswith(f"brief {KEY} {told.format(KEY)}")
    assert str(without_manifest.value).startswith(f"{MANIFEST} {told.format(MANIFEST)}")
