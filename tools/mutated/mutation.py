"""A guard, as the change that takes it out and the tests that should notice; and where several rooms keep theirs."""

from dataclasses import dataclass

REAL = ("tests/local/test_materialise.py",)
RECONCILE = ("tests/unit/test_reconcile.py",)
PRUNE = "tests/unit/test_prune.py"
STANDBY = "tests/unit/test_standby.py"
VAULT = "tests/unit/test_vault.py"
LETTING_GO = "tests/local/test_letting_go.py"
LEDGER = "tests/unit/agent/test_ledger.py"
OPENINGS = ("tests/unit/test_open_host.py",)
RESTORED_SERVER = ("tests/local/test_restored_server.py",)
BACK = ("tests/local/test_restore_directory.py",)
DOORS = ("tests/app/test_doors_night.py",)
LOST_RECEIVERS = "tests/local/test_lost_receivers.py"
AHEAD = ("tests/unit/agent/test_ahead.py",)
CGROUPS = ("tests/unit/agent/test_cgroups.py",)
TWO_AGENTS = (
    "tests/local/test_broken_pushes.py::"
    "test_of_two_agents_at_once_the_second_is_refused_and_a_copys_push_is_turned_away_by_the_receiver"
)
OWN_RUNS = ("tests/unit/test_own_runs.py",)


@dataclass(frozen=True)
class Mutation:
    """`text` occurs once in `file` and becomes `instead`; one of `tests` must fail then."""

    name: str
    file: str
    text: str
    instead: str
    removes: str
    tests: tuple[str, ...]
