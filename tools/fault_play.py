"""Playing the tests of faults, and keeping what came of each: tests/faults-played.json."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

PLAYED = Path(__file__).resolve().parents[1] / "tests/faults-played.json"
_WORST_FIRST = ("failed", "skipped", "passed")


def play(tests: Sequence[str] = ()) -> int:
    """Play every test with a mark, or those of these files or names, one at a time; pytest's exit code.

    What was not played stays as it was, if others were asked for; what was interrupted replaces nothing.
    """
    kept = _Kept()
    exit_code = pytest.main(["-q", "-m", "fault", "-p", "no:cacheprovider", *tests], plugins=[kept])
    if exit_code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        results = {**(played() if tests else {}), **kept.results()}
        PLAYED.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    return int(exit_code)


def played() -> Mapping[str, str]:
    """What came of each test when they were last played."""
    results: dict[str, str] = json.loads(PLAYED.read_text())
    return results


class _Kept:
    """A plugin of pytest. A test with parameters is as good as the worst of them."""

    def __init__(self) -> None:
        self._outcomes: dict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._outcomes[report.nodeid.partition("[")[0]].add(report.outcome)

    def results(self) -> dict[str, str]:
        return {node: min(outcomes, key=_WORST_FIRST.index) for node, outcomes in self._outcomes.items()}
