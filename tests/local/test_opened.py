"""A machine opened to a host: it reads its own old tree, all of it and nothing else, and writes nothing."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.points import parse_offer
from ebbtide_agent.receiver import confine
from ebbtide_console.sandbox import awkward
from tests.local.opened_machine import POINT, opened
from tests.local.own_nights import differing, entries
from tests.local.receiver_machine import (
    MAY_MOUNT,
    MISSING,
    PATIENCE_SECONDS,
    RUN,
    Receiver,
    a_receiver,
    an_aws,
    wait_until,
)
from tests.local.test_push import CONFINED

IS_ROOT = os.geteuid() == 0
needs_mounts = pytest.mark.skipif(
    IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
READ = ("-aHAXS", "--numeric-ids", "--modify-window=-1")


@pytest.fixture(scope="module")
def night(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A night that is over: us0's tree is as awkward as can be, eu0's has a secret. One for all that is read of it."""
    place = tmp_path_factory.mktemp("hosts")
    with an_aws() as aws, a_receiver(aws, request.param) as receiver:
        ours, theirs = the_tree(receiver, "us0"), the_tree(receiver, "eu0")
        # Below a directory of its own: a whole system's /dev does not travel.
        (awkward.grow if IS_ROOT else awkward.grow_plain)(ours / "srv")
        theirs.mkdir()
        (theirs / "secret").write_text("of eu0")
        ended = receiver.back_up("us0", ours, place / "etc")
        assert ended.returncode == 0, ended.stderr + receiver.log()
        receiver.bring("eu0", theirs)
        yield receiver


def the_tree(night: Receiver, host: str) -> Path:
    """What this host backed up."""
    return night.root.parent / f"tree-of-{host}"


@pytest.mark.parametrize("night", CONFINED, indirect=True)
def test_the_host_lists_its_point_and_reads_all_of_it(night: Receiver, tmp_path: Path) -> None:
    with opened(night) as machine:
        offer = parse_offer(machine.ssh("us0", "list").stdout)
        ended = machine.rsync("us0", *READ, f"127.0.0.1::{POINT}/", f"{tmp_path}/back/")
        told = machine.find("opened")

    assert [(point.name, point.run) for point in offer.points] == [(POINT, RUN)]
    assert offer.until and offer.left and offer.left.total_seconds() > 0
    assert ended.returncode == 0, ended.stderr
    assert differing(entries(tmp_path / "back"), entries(the_tree(night, "us0"))) == {}
    assert told and told["recovery"] == machine.recovery
    event = night.aws.events()[-1]
    assert (event["detail-type"], event["detail"]["recovery"]) == ("Ebbtide Recovery Report", machine.recovery)


@pytest.mark.parametrize(
    ("night", "kind"),
    [
        pytest.param(confine.MUNGED, confine.OWN, marks=needs_mounts),
        pytest.param(confine.OWN, confine.MUNGED, marks=needs_mounts),
    ],
    indirect=["night"],
)
def test_links_come_back_as_they_were_whatever_walls_there_were_by_night(
    night: Receiver, kind: str, tmp_path: Path
) -> None:
    with opened(night, kind=kind) as machine:
        ended = machine.rsync("us0", *READ, f"127.0.0.1::{POINT}/", f"{tmp_path}/back/")

    assert confine.sentence(kind) in machine.log()
    assert "nothing keeps a host's sessions from filling this machine's memory: there " in machine.log()
    assert ended.returncode == 0, ended.stderr
    assert differing(entries(tmp_path / "back"), entries(the_tree(night, "us0"))) == {}


def refusal(machine: Receiver, *words: str) -> bytes:
    """Why a push is refused; who is cut off while it still writes may not come to read it, and asks again."""
    for _ in range(10):
        ended = machine.rsync("us0", "-a", *words)
        assert ended.returncode != 0
        if said := ended.stderr + ended.stdout:
            return said
    pytest.fail("refused ten times without a word")


@pytest.mark.attack("another host's key at a machine that was opened to one", row="X1", outcome="refused")
@pytest.mark.attack("push to a restore point that was opened", row="X1", outcome="refused")
@pytest.mark.fault("X1")
@pytest.mark.parametrize("night", CONFINED[:1], indirect=True)
def test_nobody_else_reads_and_nobody_writes(night: Receiver, tmp_path: Path) -> None:
    before = {**entries(night.tree("us0")), **entries(night.tree("eu0"))}
    with opened(night) as machine:
        theirs = machine.ssh("eu0", "list")
        said = [machine.ssh("us0", verb) for verb in ("hello", "report")]
        written = refusal(machine, f"{the_tree(night, 'eu0')}/", f"127.0.0.1::{POINT}/")
        pushed = refusal(machine, f"{the_tree(night, 'eu0')}/", "127.0.0.1::tree/")
        strays = [
            machine.rsync("us0", "-a", f"127.0.0.1::{place}", f"{tmp_path}/stray/")
            for place in ("tree/", f"{POINT}/../../eu0a/tree/", f"{POINT}{night.tree('eu0')}/", "eu0a/")
        ]

    assert theirs.returncode == 255 and b"Permission denied" in theirs.stderr
    assert {ended.returncode for ended in said} == {Refused.exit_code}
    assert all(b"this machine takes no backup" in ended.stderr for ended in said)
    assert b"module is read only" in written
    assert b"Unknown module" in pushed
    assert all(ended.returncode != 0 for ended in strays)
    assert not (tmp_path / "stray/secret").exists()
    assert differing({**entries(night.tree("us0")), **entries(night.tree("eu0"))}, before) == {}


@pytest.mark.parametrize("night", CONFINED[:1], indirect=True)
def test_it_closes_when_its_time_is_over_and_ends_all_who_read(night: Receiver, tmp_path: Path) -> None:
    # A machine that has a lot else to do takes longer to be read.
    assert any(two_read_until_it_closes(night, minutes, tmp_path) for minutes in (0.3, 2, 10))


def two_read_until_it_closes(night: Receiver, minutes: float, place: Path) -> bool:
    """How it is with a time in which two begin to read, and whether this was one."""
    with opened(night, minutes=minutes) as machine:
        slow = ["rsync", "-a", "--bwlimit=10k", *machine.by_ssh("us0"), f"127.0.0.1::{POINT}/srv/sparse"]
        readers = [subprocess.Popen([*slow, str(place / name)], stderr=subprocess.DEVNULL) for name in "ab"]
        sessions = machine.root / "run/ebbtide/sessions"

        def both_read() -> bool:
            return len(list(sessions.glob("us0a-*.lock"))) == 2

        wait_until(lambda: both_read() or machine.process.poll() is not None, "two who read at once")
        if machine.process.poll() is not None:
            return False
        code = machine.process.wait(PATIENCE_SECONDS + minutes * 60)

        assert code == 0, machine.log()
        assert all(reader.wait(PATIENCE_SECONDS) != 0 for reader in readers)
        assert machine.find("opened")
        assert machine.find("unopened") is None
        assert machine.ssh("us0", "list").returncode == 255
        return True


@pytest.mark.parametrize("night", CONFINED[:1], indirect=True)
@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"run": "main/2026-11-22/1"}, "the volume holds us0a of main/2026-11-23/1, not us0a of main/2026-11-22/1"),
        ({"tree": "real"}, "only root could read it"),
        ({"serve": {"until": "soon"}}, "uid is None"),
    ],
)
def test_what_keeps_it_from_opening_is_reported(night: Receiver, changes: dict[str, object], finding: str) -> None:
    with opened(night, **changes) as machine:
        machine.process.wait(PATIENCE_SECONDS)
        report = machine.find("unopened")

        assert machine.find("opened") is None
        assert report and report["verdict"] == "failed"
        assert finding in report["findings"][0]
