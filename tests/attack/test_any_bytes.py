"""Whatever a host sends where a command or a report is expected: understood to the letter, or refused by name."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import wire
from ebbtide_agent.errors import AgentError, Refused
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.judge import check_identity, judged
from ebbtide_agent.receiver.lease import Session
from ebbtide_agent.receiver.verbs import Asked, parse_command
from ebbtide_agent.report import STATUSES, encode_report, parse_greeting, parse_report

WIRE = Path(__file__).parents[1] / "contract/wire"
EXAMPLE: dict[str, Any] = json.loads((WIRE / "report.json").read_bytes())
BRIEF = parse_brief((WIRE / "brief-receiver.json").read_bytes())
VERBS = {
    **{word: Asked(word) for word in ("hello", "report", "list")},
    "rsync --server --daemon .": Asked("rsync"),
    "rsync --machine=3f2a91c07d52e1aa --server --daemon .": Asked("rsync", "3f2a91c07d52e1aa"),
}
MACHINE = re.compile(r"[0-9a-f]{16}")
MACHINES = re.compile(rf"rsync --machine={MACHINE.pattern} --server --daemon \.")
# So many inputs for each property, or as many as EBBTIDE_FUZZ says. docs/security.md has it from here.
INPUTS = int(os.environ.get("EBBTIDE_FUZZ", "500"))
_came = Counter[str]()


def fuzzed(strategy: st.SearchStrategy[Any]) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Try a property with so many inputs, and count them."""

    def decorate(holds: Callable[[Any], None]) -> Callable[[], None]:
        def count(made: Any) -> Any:
            _came[holds.__name__] += 1
            return made

        return settings(max_examples=INPUTS)(given(strategy.map(count))(holds))

    return decorate


@pytest.fixture(autouse=True)
def so_many_came(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the page says of their number is so."""
    yield
    assert _came[request.node.originalname] >= INPUTS


commands = st.one_of(
    st.text(),
    st.tuples(st.sampled_from([*VERBS]), st.text(max_size=3)).map("".join),
    st.tuples(st.text(max_size=3), st.sampled_from([*VERBS])).map("".join),
    st.tuples(st.sampled_from([*VERBS]), st.integers(0, 60), st.characters()).map(
        lambda change: change[0][: change[1]] + change[2] + change[0][change[1] + 1 :]
    ),
)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**53, 2**53 + 1, -1, 10**400, True]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
moments = st.one_of(st.datetimes().map(str), st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,9}(Z|[+-][0-9:]{5})"))
fields = st.sampled_from([name for name in EXAMPLE if name != "receiver"])
changes = st.dictionaries(fields, st.one_of(values, moments, st.sampled_from(STATUSES)), min_size=1, max_size=3)


anything = st.one_of(st.binary(), st.text().map(str.encode), values.map(json.dumps).map(str.encode))
greetings = st.one_of(
    anything,
    st.fixed_dictionaries({"schema": st.just(1), "machine": st.one_of(values, st.from_regex(MACHINE))})
    .map(json.dumps)
    .map(str.encode),
)


@pytest.mark.fault("X2")
@fuzzed(commands)
def test_a_command_is_one_of_four_to_the_letter(asked: str) -> None:
    if asked in VERBS:
        assert parse_command(asked) == VERBS[asked]
        return
    if MACHINES.fullmatch(asked):
        assert parse_command(asked).verb == "rsync"
        return
    with pytest.raises(Refused) as refused:
        parse_command(asked)
    assert len(str(refused.value)) < 200


@pytest.mark.fault("X2")
@fuzzed(greetings)
def test_a_hello_names_a_machine_to_the_letter_or_none_or_is_refused(body: bytes) -> None:
    try:
        machine = parse_greeting(body)
    except AgentError as refused:
        assert len(str(refused)) < 200 and str(refused).isprintable()
        return
    assert MACHINE.fullmatch(machine) or machine == ""


@pytest.mark.fault("X3")
@fuzzed(anything)
def test_bytes_are_no_report(body: bytes) -> None:
    with pytest.raises(AgentError):
        parse_report(body)


@pytest.mark.fault("X3")
@fuzzed(changes)
def test_a_changed_report_is_refused_or_can_be_read_by_all_who_come_after(changed: dict[str, Any]) -> None:
    try:
        report = parse_report(json.dumps({**EXAMPLE, **changed}).encode())
        check_identity(report, BRIEF.hosts[0], BRIEF)
    except AgentError as refused:
        assert len(str(refused)) < 2000
        return
    believed = judged(report, Session(0, 1.0), is_out_of_memory=False)

    archived = encode_report(believed)

    assert parse_report(archived) == believed
    assert STATUSES.index(believed.status) >= STATUSES.index(report.status)
    as_recorded = {**json.loads(archived), "receiver": EXAMPLE["receiver"]}
    result = wire.parse_report(json.dumps(as_recorded).encode()).result
    assert all(problem.isprintable() for problem in result.problems)
