"""A push to somebody else's machine that breaks inside a file: gone on from, and nothing of it left in a whole tree."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.local.own_nights import agent, differing, entries
from tests.local.processes import below
from tests.local.receiver_machine import PATIENCE_SECONDS, arrived, wait_until
from tests.local.rsync_only import FarSide
from tests.local.test_broken_pushes import ENOUGH, SIZE, is_ssh
from tests.local.test_to_remote import MISSING, Pushing, fetched

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def host(far: FarSide, tmp_path: Path) -> Pushing:
    host = Pushing(tmp_path, tmp_path / "unused")
    host.reach(far)
    (host.tree / "srv").mkdir()
    (host.tree / "srv/large").write_bytes(os.urandom(SIZE))
    return host


def a_slow_push(host: Pushing) -> "subprocess.Popen[bytes]":
    """An agent in the middle of the large file."""
    host.configure(BANDWIDTH="4m")
    running = subprocess.Popen(agent(host), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(lambda: arrived(host.there / "tree/srv/large") > ENOUGH, "some of the large file")
    return running


def kept_aside(host: Pushing) -> list[str]:
    return [str(path.relative_to(host.there / "tree")) for path in (host.there / "tree").rglob(".ebbtide-partial/*")]


@pytest.mark.fault("N3")
def test_a_link_that_drops_inside_a_file_is_gone_on_from_in_the_same_night(host: Pushing) -> None:
    running = a_slow_push(host)

    (link,) = filter(is_ssh, below(running.pid))
    os.kill(link, signal.SIGKILL)
    wait_until(lambda: kept_aside(host), "what arrived")
    was_torn = (host.there / "tree/srv/large").exists()
    said, _ = running.communicate(timeout=180)

    report = host.report_there()
    assert (running.returncode, report["status"]) == (0, "complete"), said
    assert not was_torn
    assert int(str(report["bytes_sent"])) < SIZE - ENOUGH / 2
    assert differing(entries(fetched(host)), entries(host.tree)) == {}
    assert not list((host.there / "tree").rglob(".ebbtide-partial"))


@pytest.mark.fault("N3")
def test_what_a_night_that_was_killed_has_sent_is_not_sent_again(host: Pushing) -> None:
    running = a_slow_push(host)
    for process in (running.pid, *below(running.pid)):
        os.kill(process, signal.SIGKILL)
    running.communicate(timeout=PATIENCE_SECONDS)
    wait_until(lambda: kept_aside(host), "what arrived")

    report = host.back_up()

    assert report.status == "complete-with-warnings"
    assert report.bytes_sent < SIZE - ENOUGH / 2
    assert differing(entries(fetched(host)), entries(host.tree)) == {}


def test_what_was_kept_of_a_file_that_went_meanwhile_goes_as_well(host: Pushing) -> None:
    running = a_slow_push(host)
    for process in (running.pid, *below(running.pid)):
        os.kill(process, signal.SIGKILL)
    running.communicate(timeout=PATIENCE_SECONDS)
    wait_until(lambda: kept_aside(host), "what arrived")
    (host.tree / "srv/large").unlink()
    (host.tree / "srv/other").write_text("other")

    report = host.back_up()

    assert report.status == "complete-with-warnings"
    assert differing(entries(fetched(host)), entries(host.tree)) == {}


def an_rsync_that_breaks_once(host: Pushing) -> Path:
    """At its first list; and at the end of a push in full a directory of the tree is moved."""
    program, broke = host.place / "rsync", host.place / "broke"
    moved = f"mv {host.tree}/srv/site {host.tree}/boot/ 2> {os.devnull}"
    program.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f"  *--stats*--ignore-times*) [ -e {broke} ] || {{ touch {broke}; exit 12; }} ;;\n"
        f'  *--delete-excluded*) rsync "$@"; code=$?; {moved}; exit $code ;;\n'
        'esac\nexec rsync "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.fault("N3")
def test_what_moves_while_everything_is_compared_after_a_break_is_found_the_same_night(host: Pushing) -> None:
    for name in ("srv/site/page", "boot/kernel"):
        (host.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (host.tree / name).write_text(name)
    host.back_up()
    (host.tree / "new").write_text("new")

    report = host.back_up(RSYNC=str(an_rsync_that_breaks_once(host)), WAIT_MINUTES="10")

    assert (host.tree / "boot/site/page").exists() and any("compared once more" in line for line in host.said)
    assert report.is_complete, report.problems
    assert differing(entries(fetched(host)), entries(host.tree)) == {}, host.said
