"""The receiver's own guard, on numbers: what is a loss, and what is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.manifest import Before, ManifestSummary
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.guard import guarded
from ebbtide_agent.report import parse_report

WIRE = Path(__file__).parents[2] / "contract/wire"
MIB = 1 << 20
HOST = parse_brief((WIRE / "brief-receiver.json").read_bytes()).hosts[0]
REPORT = parse_report((WIRE / "report.json").read_bytes())


def landed(entries: int, size: int, before: Before) -> ManifestSummary:
    return ManifestSummary("", "", entries, entries, size, 0, 0, 0, "", before)


@pytest.mark.parametrize(
    ("entries", "size", "before", "loss"),
    [
        (10, 10, Before(0, 0, 0, 0), None),
        (200, 50, Before(400, 50, 50, 50), None),
        (199, 50, Before(400, 50, 50, 50), "of 400 entries of the last complete night 199 are left"),
        (50, 50, Before(150, 50, 50, 50), "of 150 entries of the last complete night 50 are left"),
        (51, 50, Before(150, 50, 50, 50), None),
        (2, 50, Before(4, 3, 50, 1), None),
        (1, 0, Before(3, 2, 50, 0), "of 3 entries of the last complete night 1 are left"),
        (100, 10 * MIB, Before(100, 100, 20 * MIB, 100), None),
        (
            100,
            5 * MIB,
            Before(100, 100, 15 * MIB, 100),
            f"of {15 * MIB} bytes of the last complete night {5 * MIB} are",
        ),
        (100, 5 * MIB + 1, Before(100, 100, 15 * MIB, 100), None),
        (2000, 2000, Before(2000, 2000, 2000, 1000), None),
        (2000, 2000, Before(2000, 2000, 2000, 999), "of 2000 files of the last complete night 1001 are gone or have"),
        (2, 50, Before(0, 0, 0, 0, "ended early"), "manifest of the last complete night cannot be read"),
        (999, 999, Before(999, 999, 999, 0), None),
        (1000, 1000, Before(1000, 1000, 1000, 0), "of 1000 files of the last complete night 1000 are gone or have"),
    ],
)
def test_what_is_a_loss(entries: int, size: int, before: Before, loss: "str | None") -> None:
    judged = guarded(REPORT, HOST, landed(entries, size, before))

    assert judged.status == ("suspect" if loss else REPORT.status)
    assert (loss or "") in " ".join(judged.problems)
    assert guarded(REPORT, replace(HOST, guarded=False), landed(entries, size, before)) == REPORT
