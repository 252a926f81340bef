"""What becomes a snapshot of a directory, and what does not."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.paths import DirectoryPaths
from ebbtide_agent.rotation import Rotation
from tests.unit.agent.test_survey import A_REPORT

NOW = datetime(2026, 11, 24, 2, 12, 30, tzinfo=UTC)


def test_what_has_a_tree_becomes_a_snapshot_and_what_lacks_it_does_not(tmp_path: Path) -> None:
    store, said = DirectoryPaths(tmp_path), list[str]()
    rotation = Rotation(store, lambda: NOW, said.append, lambda: None)
    store.incomplete.mkdir()

    with pytest.raises(PermanentError, match="tree is not there: somebody else has taken it away"):
        rotation.seal(A_REPORT)
    left = list(tmp_path.rglob("*"))
    store.making.mkdir()
    name = rotation.seal(A_REPORT)

    assert left == [store.incomplete]
    assert rotation.complete() == (name,) == ("2026-11-24T02-12-30Z",)
    assert said == [f"snapshot {tmp_path}/{name}"]
