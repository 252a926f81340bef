"""A push is tried again while the connection breaks, and what its attempts have sent adds up."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.errors import REFUSAL
from ebbtide_agent.host.link import World
from ebbtide_agent.host.outcome import Counts, Outcome
from ebbtide_agent.host.push import Pass, Watch, push
from ebbtide_agent.report import COMPLETE, PARTIAL
from tests.unit.agent.test_course import A_CONFIG

NOW = datetime(2026, 11, 23, 2, 10, tzinfo=UTC)
STATS = "Number of files: 3 (reg: 2, dir: 1)\\nTotal file size: 5,000,000 bytes\\nTotal bytes sent: 700\\n"


@pytest.fixture
def an_rsync(tmp_path: Path) -> str:
    """It breaks twice after a million bytes each, and comes through the third time."""
    program = tmp_path / "rsync"
    program.write_text(
        f"""#!/bin/sh
        echo >> {tmp_path}/attempts
        [ $(wc -l < {tmp_path}/attempts) -gt 2 ] && printf '{STATS}' && exit 0
        printf '\\r  500,000   10%%  1.00MB/s  0:00:04  \\r  1,000,000   20%%  1.00MB/s  0:00:03  '
        exit 12
        """
    )
    program.chmod(0o755)
    return str(program)


def outcome_of(an_rsync: str, until: datetime) -> Outcome:
    clock = iter(NOW + timedelta(minutes=minute) for minute in range(100))
    world = World(lambda: next(clock), sleep=lambda _: None, chance=lambda: 0.0)
    passes: Iterator[Pass] = iter([Pass((), Path("/"), heals=True)])
    watch = Watch(until, world, {}, lambda _: None)
    return push(replace(A_CONFIG, rsync=an_rsync), lambda _: ("place",), passes, watch)


def test_once_it_came_through_all_that_was_sent_counts(an_rsync: str) -> None:
    assert outcome_of(an_rsync, NOW + timedelta(hours=1)).counts == Counts(2, 3, 5_000_000, 2_000_700)


@pytest.mark.fault("R7")
def test_a_push_whose_gate_was_told_to_stop_is_tried_again(an_rsync: str) -> None:
    Path(an_rsync).write_text(Path(an_rsync).read_text().replace("exit 12", "exit 143"))

    assert outcome_of(an_rsync, NOW + timedelta(hours=1)).status == COMPLETE


def test_when_time_is_up_so_does_what_was_sent_until_then(an_rsync: str) -> None:
    assert outcome_of(an_rsync, NOW + timedelta(minutes=1)).counts == Counts(bytes_sent=2_000_000)


def test_a_night_that_ends_in_the_middle_of_a_push_has_moved_what_it_moved(an_rsync: str) -> None:
    over = f"echo 'ebbtide: {REFUSAL}run main/2026-11-23/1 is over' >&2; exit 12"
    Path(an_rsync).write_text(Path(an_rsync).read_text().replace(f"printf '{STATS}' && exit 0", f"{{ {over}; }}"))

    ended = outcome_of(an_rsync, NOW + timedelta(hours=1))

    assert (ended.status, ended.exit_code, ended.counts.bytes_sent) == (PARTIAL, 12, 2_000_000)
    assert ended.problems[-1].endswith("run main/2026-11-23/1 is over")
