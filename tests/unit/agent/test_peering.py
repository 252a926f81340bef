"""The words of `ebbtide-agent peer` as they are typed, where nothing has been pushed."""

import shutil
from pathlib import Path

import pytest

from ebbtide_agent.host_main import main
from ebbtide_agent.paths import HostPaths, PeerPaths

KEY = f"ssh-ed25519 {'A' * 44}"
NEEDED = ("bwrap", "rsync", "setpriv")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


class Machine:
    """eu0, in places of its own."""

    def __init__(self, place: Path) -> None:
        self.places, self.store = HostPaths(place / "etc", place / "state"), place / "store"
        self.places.etc.mkdir()

    @property
    def paths(self) -> PeerPaths:
        return PeerPaths(self.places.state, self.store)

    def peer(self, *words: str) -> int:
        return main(["peer", *words, "--etc", str(self.places.etc), "--state", str(self.places.state)])

    def add(self, *words: str) -> int:
        return self.peer("add", "us0", "--at", str(self.store), *words)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_cannot_be_added_leaves_nothing_behind(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    code = machine.add()

    assert code == 78 and "--key" in capsys.readouterr().err
    assert [*machine.places.etc.iterdir()] == []
    assert not machine.places.state.exists() and not machine.store.exists()
