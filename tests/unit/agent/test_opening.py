"""What an opened machine is told, and the words by which it is known from one that proves."""

import io
import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.entry import Header
from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.manifest_file import write_manifest
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.lease import MOST_SESSIONS, seated
from ebbtide_agent.receiver.opened import header_of
from ebbtide_agent.receiver.opened_gate import OpenedGate
from ebbtide_agent.receiver.opening import is_asked_for, parse_opening
from ebbtide_agent.receiver.places import make_room
from ebbtide_agent.receiver.verbs import LIST, RSYNC

WIRE = Path("tests/contract/wire")
EXAMPLE = json.loads((WIRE / "brief-opening.json").read_bytes())


def test_the_brief_says_whose_point_it_is_and_until_when() -> None:
    opening = parse_opening(json.dumps(EXAMPLE).encode())

    assert (opening.host.name, opening.host.id, opening.host.uid) == ("us0", "us0a", 2435978)
    assert (opening.point.name, opening.point.run) == ("2026-11-22.1", "main/2026-11-22/1")
    assert opening.until == datetime(2026, 11, 23, 11, tzinfo=UTC)


def test_a_recovery_that_proves_is_none() -> None:
    assert is_asked_for(json.dumps(EXAMPLE).encode())
    assert not is_asked_for((WIRE / "brief-recovery.json").read_bytes())
    assert not is_asked_for(json.dumps({**EXAMPLE, "serve": None}).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keys": ["ssh-ed25519 AAAA\ncommand=x"]}, "not a public ssh key"),
        ({"uid": 0}, "may be somebody of the system"),
        ({"until": "2026-11-24T11:00:00"}, "no offset"),
        ({"host_key_parameter": None}, "host_key_parameter is None"),
    ],
)
def test_what_cannot_be_is_refused(change: "dict[str, object]", said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        parse_opening(json.dumps({**EXAMPLE, "serve": {**EXAMPLE["serve"], **change}}).encode())


def test_a_tree_that_only_root_can_read_is_not_served() -> None:
    with pytest.raises(PermanentError, match="give the host a volume made from the snapshot"):
        parse_opening(json.dumps({**EXAMPLE, "tree": "real"}).encode())


def test_what_the_tree_is_says_the_manifest_of_its_night_though_its_gate_was_killed_when_that_was_on_record(
    tmp_path: Path,
) -> None:
    """So it lies beside the one of the night before."""
    opening, paths = parse_opening(json.dumps(EXAMPLE).encode()), MachinePaths(tmp_path)
    paths.host("us0a").mkdir(parents=True)
    write_manifest(paths.manifest("us0a"), Header("us0a", "main/2026-11-21/1", "fake-super", munged=False), ())
    write_manifest(paths.next_manifest("us0a"), Header("us0a", "main/2026-11-22/1", "fake-super", munged=True), ())

    assert header_of(opening, paths).munged


@pytest.mark.parametrize("verb", [LIST, RSYNC])
def test_who_reads_has_a_few_sessions_at_once_and_the_next_one_is_to_come_again(tmp_path: Path, verb: str) -> None:
    opening, paths = parse_opening(json.dumps(EXAMPLE).encode()), MachinePaths(tmp_path)
    make_room(paths)
    gate = OpenedGate(paths, opening, lambda: opening.until - timedelta(hours=1))

    with ExitStack() as sessions:
        for _ in range(MOST_SESSIONS):
            sessions.enter_context(seated(paths, "us0a"))

        with pytest.raises(TransientError, match="host us0a has 4 sessions already"):
            gate.answer(verb, io.BytesIO(), io.BytesIO())
