"""A machine whose brief is not there yet: the control plane may have been interrupted between the two."""

import pytest

from ebbtide_agent import cloud
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import PermanentError

KEY = "recoveries/us0a/2026-11-23/1/brief.json"


class Archive(Cloud):
    """The brief shows after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__("archive", "us-east-1")
        self.looks = looks

    def get(self, key: str) -> bytes:
        self.looks -= 1
        if self.looks > 0:
            raise KeyError(key)
        return b"what it is for"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "PAUSE_SECONDS", 0.0)


def test_a_brief_that_comes_late_is_waited_for() -> None:
    assert Archive(looks=3).get_brief(KEY, patience=60) == b"what it is for"


def test_without_patience_a_brief_that_is_not_there_is_none() -> None:
    with pytest.raises(PermanentError, match=f"brief {KEY} is not in the archive"):
        Archive(looks=3).get_brief(KEY)
