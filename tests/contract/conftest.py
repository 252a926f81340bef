"""An account of its own for every test that asks for one."""

from collections.abc import Iterator

import pytest

from tests.contract.aws import Account, an_account


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with an_account(monkeypatch) as furnished:
        yield furnished
