"""Two runs at one place of a machine that has no shell, and so no lock: a copied host, or a second agent on it.

What both have written to is never called complete, or is found not to be by the one that ends last.
"""

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.host import night
from tests.local.own_nights import after_each_push, as_agent, differing, entries
from tests.local.rsync_only import FarSide
from tests.local.test_to_remote import MISSING, Pushing, fetched

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def hosts(far: FarSide, tmp_path: Path) -> tuple[Pushing, Pushing]:
    """Two that take themselves for us0, each with a state of its own."""
    first, second = (Pushing(tmp_path / name, tmp_path / "unused") for name in ("first", "second"))
    for host in (first, second):
        host.reach(far)
        host.ahead = timedelta(days=-1)
        (host.tree / "whose").write_text(host.place.name)
    return first, second


def killed(host: Pushing) -> None:
    """As soon as it pushes."""
    killer = host.place / "rsync"
    killer.write_text('#!/bin/sh\ncase "$*" in *--stats*) kill -9 $PPID;; *) exec rsync "$@";; esac\n')
    killer.chmod(0o755)
    host.configure(RSYNC=str(killer))
    assert as_agent(host, "run").returncode == -signal.SIGKILL


def come_through(host: Pushing) -> None:
    host.configure()
    assert as_agent(host, "run").returncode == 0


def write_report(host: Pushing, **values: object) -> None:
    (host.there / "report.json").write_text(json.dumps({**host.report_there(), **values}))


def test_while_another_run_may_push_there_the_second_leaves_and_says_until_when(
    hosts: tuple[Pushing, Pushing],
) -> None:
    first, second = hosts
    killed(first)
    left = entries(first.there)

    with pytest.raises(
        Refused, match=r"another run of us0 has begun to push to .* see that no copy of this host"
    ) as said:
        second.back_up()

    begun = datetime.fromisoformat(str(first.report_there()["started"]))
    assert f"a night from {(begun + timedelta(hours=20)).astimezone(UTC):%Y-%m-%dT%H:%M:%S}" in str(said.value)
    assert differing(entries(second.there), left) == {}
    assert not any("full push" in line for line in second.said), "it was not said at once"
    assert second.back_up().status == "complete", "the next night does not go there"
    assert differing(entries(fetched(second)), entries(second.tree)) == {}


def test_whoever_was_killed_there_goes_on_by_itself_at_once(hosts: tuple[Pushing, Pushing]) -> None:
    first, _ = hosts
    killed(first)

    assert first.back_up().status == "complete-with-warnings"


def test_a_copy_of_the_state_on_another_machine_is_another_one(hosts: tuple[Pushing, Pushing]) -> None:
    first, _ = hosts
    killed(first)
    write_report(first, machine="0" * 16)

    with pytest.raises(Refused, match="another run of us0"):
        first.back_up()


@pytest.mark.parametrize("goes", [killed, come_through])
def test_one_that_began_between_hello_and_push_is_seen_whatever_became_of_it(
    hosts: tuple[Pushing, Pushing], monkeypatch: pytest.MonkeyPatch, goes: Callable[[Pushing], None]
) -> None:
    first, second = hosts
    first.back_up()
    scanned = night.survey.in_view_of

    def and_meanwhile(*arguments: Any) -> object:
        monkeypatch.undo()
        goes(first)
        return scanned(*arguments)

    monkeypatch.setattr(night.survey, "in_view_of", and_meanwhile)
    with pytest.raises(Refused, match="another run of us0 has"):
        second.back_up()

    assert (second.there / "tree/whose").read_text() == "first"


def test_what_another_run_has_pushed_to_meanwhile_is_partial_there_and_here_and_mended_by_the_next_night(
    hosts: tuple[Pushing, Pushing], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = hosts
    first.back_up()
    after_each_push(monkeypatch, lambda: write_report(first, nonce="0" * 32))
    (first.tree / "new").touch()

    report = first.back_up()

    assert (report.status, report.receiver, first.report_there()["status"]) == ("partial", None, "partial")
    assert "another run has pushed to" in report.problems[0]
    monkeypatch.undo()
    assert first.back_up().status == "complete"
    assert any("no tree of a push that came to its end" in line for line in first.said)
