"""The words of `ebbtide-agent peer` as they are typed, where nothing has been pushed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.host_main import main
from ebbtide_agent.moments import read
from ebbtide_agent.paths import HostPaths, PeerPaths

KEY = f"ssh-ed25519 {'A' * 44}"
NEEDED = ("bwrap", "rsync", "setpriv")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


class Machine:
    """eu0, in places of its own."""

    def __init__(self, place: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.places, self.store = HostPaths(place / "etc", place / "state"), place / "store"
        self.places.etc.mkdir()

    @property
    def paths(self) -> PeerPaths:
        return PeerPaths(self.places.state, self.store)

    def peer(self, *words: str) -> int:
        return main(["peer", *words, "--etc", str(self.places.etc), "--state", str(self.places.state)])

    def told(self, *words: str) -> dict[str, Any]:
        """What a word says to programs."""
        self.code = self.peer(*words, "--json")
        said = self.capture.readouterr()
        assert said.out, said.err
        return dict(json.loads(said.out))

    def add(self, *words: str) -> int:
        return self.peer("add", "us0", "--at", str(self.store), *words)


@pytest.fixture
def machine(capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with TemporaryDirectory(prefix="ebbtide-peering-") as directory:
        # The users of the hosts' trees have to get through.
        Path(directory).chmod(0o755)
        yield Machine(Path(directory), capsys)


def test_what_cannot_be_added_leaves_nothing_behind(machine: Machine) -> None:
    code = machine.add()

    assert code == 78 and "--key" in machine.capture.readouterr().err
    assert [*machine.places.etc.iterdir()] == []
    assert not machine.places.state.exists() and not machine.store.exists()


def test_each_word_that_changes_something_says_to_programs_what_it_has_done(machine: Machine) -> None:
    add = ("add", "us0", "--id", "us0a", "--at", str(machine.store), "--key", KEY)

    shown, done, again = machine.told(*add, "--dry-run"), machine.told(*add), machine.told(*add)
    opened, closed = machine.told("open", "us0", "--for", "1h"), machine.told("close", "us0")
    asked = machine.told("remove", "us0")
    refused = machine.code
    removed = machine.told("remove", "us0", "--yes")

    assert (shown["done"], shown["lines"], done["done"]) == (False, "", True)
    assert f"write {machine.places.peer}" in done["steps"] and {*done["steps"]} == {*shown["steps"]}
    assert "ebbtide-agent install --host us0" in done["lines"]
    assert (again["done"], again["steps"], again["lines"]) == (True, [], done["lines"])
    assert any("peer serve" in note for note in done["notes"])
    assert opened["done"] and read(opened["until"]) and opened["steps"] == closed["steps"] != []
    assert (asked["done"], refused) == (False, Refused.exit_code)
    assert (removed["done"], removed["steps"], machine.code) == (True, asked["steps"], 0)
    assert removed["notes"] == [f"what is kept of us0 stays in {machine.paths.host('us0a')}"]


def test_what_was_open_when_the_machine_went_down_is_not_listed_as_open_by_any_time(machine: Machine) -> None:
    machine.told("add", "us0", "--id", "us0a", "--at", str(machine.store), "--key", KEY)
    machine.told("open", "us0", "--for", "1h")

    def listed() -> tuple[dict[str, Any], str]:
        codes = machine.peer("list", "--json"), machine.peer("list")
        assert codes == (0, 0)
        lines = machine.capture.readouterr().out
        (guest,) = json.loads(lines[: lines.rindex("]") + 1])
        return guest, lines

    machine.capture.readouterr()
    (before, told_before), register = listed(), json.loads(machine.places.peer.read_bytes())
    register["guests"][0]["closes"]["start"] = "before it went down"
    machine.places.peer.write_text(json.dumps(register))
    after, told_after = listed()

    assert (bool(before["open_until"]), "may read until" in told_before) == (True, True)
    assert (after["open_until"], after["closes"], "may read until" in told_after) == (None, None, False)
