"""What a gate records of a tree of which it cannot tell everything, and what the next nights are compared with then."""

import os
from pathlib import Path

import pytest

from ebbtide_agent import entry
from ebbtide_agent.report import PARTIAL
from tests.unit.agent.guests import Taking


def test_a_night_with_an_entry_that_no_manifest_takes_is_partial_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "MOST_ATTRIBUTES", 1000)
    there = Taking(tmp_path)
    there.night()
    before = there.paths.manifest("us0a").read_bytes()
    os.setxattr(there.paths.tree("us0a") / "file", "user.flood", bytes(1001))

    recorded = there.report(there.say_hello())

    assert recorded.status == PARTIAL
    assert recorded.problems[0].startswith("one entry's extended attributes are more than 1000 B together")
    assert recorded.problems[0].endswith("exclude file")
    assert recorded.receiver and recorded.receiver.manifest is None
    assert there.paths.manifest("us0a").read_bytes() == before
