"""A machine whose brief is not there yet: the control plane may have been interrupted between the two."""

import pytest

from ebbtide_agent import cloud
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import DeniedError, PermanentError

KEY = "recoveries/us0a/2026-11-23/1/brief.json"


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
