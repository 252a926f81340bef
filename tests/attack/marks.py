"""How an attack enters the table in docs/security.md."""

from typing import Any

import pytest


def tried(what: str, *values: Any, row: str, outcome: str, marks: tuple[pytest.MarkDecorator, ...] = ()) -> Any:
    """One set of parameters that is an attack: what is tried, the row of the table of faults, what comes of it."""
    return pytest.param(*values, id=what, marks=(pytest.mark.attack(what, row=row, outcome=outcome), *marks))
