"""The scan after a push in full, and the end of the window: what was pushed in time is recorded in time. All real."""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.host import night, survey
from ebbtide_agent.host.link import World
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import COMPLETE, WITH_WARNINGS
from tests.local.own_nights import Host
from tests.local.receiver_machine import MISSING as NO_RECEIVER
from tests.local.receiver_machine import a_receiver, an_aws

# Of a minute, for the whole night; and longer than that.
WINDOW, TOO_LONG_SECONDS = 0.5, 32

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="not installed: rsync")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "file").write_text("here")
    return host


@pytest.mark.skipif(bool(NO_RECEIVER), reason=f"not installed: {', '.join(NO_RECEIVER)}")
def test_a_scan_that_does_not_come_to_its_end_costs_no_night_that_was_pushed_before(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_more = survey.once_more

    def slowly(*arguments: Any) -> Survey:
        time.sleep(TOO_LONG_SECONDS)
        return once_more(*arguments)

    monkeypatch.setattr(survey, "once_more", slowly)
    kind = confine.SEPARATE if os.geteuid() == 0 else confine.OWN
    with an_aws() as aws, a_receiver(aws, kind, ("us0", "eu0"), minutes=WINDOW) as receiver:
        paths = receiver.configure("us0", host.tree, host.paths.etc, WHOLE_SYSTEM="no")
        report = night.run(night.Night(paths, World(lambda: datetime.now(UTC)), os.environ))

        recorded = receiver.report("us0")

    assert recorded is not None and recorded["status"] == report.status == WITH_WARNINGS
    assert "was not looked after: there can be no index: the second scan was not done within" in report.problems[0]


def test_where_no_time_is_left_for_a_scan_the_night_is_complete_and_the_next_one_compares_everything(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night, "seconds_to_scan", lambda *_: 0.0)
    statuses = [host.back_up().status, host.back_up().status]
    hurried = " ".join(host.said)
    monkeypatch.undo()
    statuses += [host.back_up().status, host.back_up().status]

    assert statuses == [COMPLETE] * 4
    assert "scanning and pushing once more" not in hurried
    assert len([each for each in host.said if "during the last push was not looked after" in each]) == 2
    assert "of 2 entries 0 to push, 0 to delete first" in host.said
