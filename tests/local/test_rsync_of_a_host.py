"""The rsync of a host need not be the receiver's: real nights with Debian 12's, and what the two agree on."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.host.night import rsync_version
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import COMPLETE
from tests.debian import an_older_rsync
from tests.local.edits import EDITS, Editor
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws
from tests.local.test_index_push import IS_ROOT, Host, a_host, assert_same, stored

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN) as receiver:
        yield receiver


@pytest.fixture
def host(receiver: Receiver, tmp_path: Path) -> Iterator[Host]:
    host = a_host(receiver, tmp_path)
    yield host
    shutil.rmtree(host.tree)


def test_nights_with_an_older_rsync_leave_the_tree_that_ours_leaves(host: Host, tmp_path: Path) -> None:
    host.config = replace(host.config, rsync=str(an_older_rsync(tmp_path / "older")))
    full, _ = host.back_up()
    editor, chance = Editor(host.tree), random.Random(7)
    for _ in range(20):
        editor.edit(chance.choice(sorted(EDITS)), chance.randrange(500), chance.randrange(500))

    by_index, taken = host.back_up()

    assert rsync_version(host.config.rsync).startswith("3.2.")
    assert (full.status, by_index.status, taken.course.in_full) == (COMPLETE, COMPLETE, False)
    assert_same(stored(host.receiver.tree("us0")), host.expected())


@pytest.mark.parametrize("is_older", [False, True], ids=["ours", "older"])
def test_what_is_compressed_is_compressed_by_zstd(is_older: bool, host: Host, tmp_path: Path) -> None:
    program = an_older_rsync(tmp_path / "older") if is_older else shutil.which("rsync")
    telling, told = tmp_path / "telling", tmp_path / "told"
    told.mkdir()
    telling.write_text(f'#!/bin/sh\n{program} --debug=nstr "$@" > {told}/$$; ended=$?; cat {told}/$$; exit $ended\n')
    telling.chmod(0o755)
    (host.tree / "compressible").write_bytes(b"again and " * 1_000_000)
    for large in ("large", "g/large", "d/e/large"):
        (host.tree / large).unlink()
    host.config = replace(host.config, rsync=str(telling), compress="yes")

    outcome, _ = host.back_up()

    assert outcome.status == COMPLETE
    assert any(b"Client negotiated compress: zstd" in each.read_bytes() for each in told.iterdir())
    assert outcome.counts.bytes_sent < 1_000_000 < (host.receiver.tree("us0") / "compressible").stat().st_size
