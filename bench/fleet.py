"""A fleet: hosts spread over receivers, the policy that says so, and a world in memory that counts its calls."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from resource import RUSAGE_SELF, getrusage
from time import process_time
from types import SimpleNamespace
from typing import Any

from bench.table import Table
from chalicelib.aws.catalog import DynamoCatalog
from chalicelib.ports import World
from tests.builders import A_KEY
from tests.fakes import FakeWorld, a_world

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def host_id(number: int) -> str:
    """Four characters, `0000` the first."""
    digits = ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


@dataclass(frozen=True)
class Fleet:
    """`hosts` hosts, dealt out to `receivers` receivers in blocks."""

    hosts: int
    receivers: int
    rules: str = "daily = 7"

    @property
    def a_receiver(self) -> int:
        return self.hosts // self.receivers

    def numbers_of(self, receiver: int) -> range:
        return range(receiver * self.a_receiver, (receiver + 1) * self.a_receiver)

    @property
    def policy(self) -> str:
        receivers = "".join(
            f'[receiver.r{each}]\nwindow = "02:00-06:00"\ntimezone = "UTC"\nname = "r{each}.example.org"\n'
            f'allow = ["198.51.100.0/24"]\ninstance = ["t4g.small"]\nvolume = {{ size = "80GiB" }}\n'
            f"hosts = {[f'h{number}' for number in self.numbers_of(each)]}\n\n"
            for each in range(self.receivers)
        )
        hosts = "".join(
            f'[host.h{number}]\nid = "{host_id(number)}"\nkeys = ["{_a_key(number)}"]\n\n'
            for number in range(self.a_receiver * self.receivers)
        )
        return f"schema = 1\n\n{receivers}{hosts}[retention]\n{self.rules}\n"


def _a_key(number: int) -> str:
    return A_KEY.replace("A" * 43, f"A{number:042d}")


class Counted:
    """A port that counts its calls by name, and what they gave back."""

    def __init__(self, port: Any, name: str, calls: Counter[str]) -> None:
        self._port, self._name, self._calls = port, name, calls

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._port, method)

        def counted(*given: Any, **named: Any) -> Any:
            self._calls[f"{self._name}.{method}"] += 1
            return call(*given, **named)

        return counted


_ASKED_OF_AWS = ("machines", "volumes", "copies", "address", "archive", "lambdas", "alarms")


@dataclass(frozen=True)
class Books:
    """A world under way: what it holds, the same counted, the table beneath its catalogue, and the calls so far."""

    parts: FakeWorld
    world: World
    table: Table
    calls: Counter[str]

    def reset(self) -> None:
        self.calls.clear()
        self.table.reset()


def a_counted_world(policy: str) -> Books:
    """A policy is in force, and nothing has happened yet."""
    table, calls = Table(), Counter[str]()
    parts = a_world()
    catalog = DynamoCatalog(SimpleNamespace(dynamodb=table), "ebbtide")  # type: ignore[arg-type]
    counted = {name: Counted(getattr(parts, name), name, calls) for name in _ASKED_OF_AWS}
    world: World = replace(parts, catalog=catalog, **counted)  # type: ignore[arg-type]
    parts.archive.put_once("policies/000001.toml", policy.encode())
    catalog.set_policy_version("000001", None)
    table.reset()
    return Books(parts, world, table, calls)


@dataclass
class Timed:
    seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Timed]:
    """How much of a processor's time what is inside took: others may be at work on this machine."""
    taken, begun = Timed(), process_time()
    yield taken
    taken.seconds = process_time() - begun


def peak_mib() -> float:
    """The most this process has held so far."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def row(*cells: object) -> None:
    """One line of a Markdown table."""
    print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def head(*cells: str) -> None:
    print()
    row(*cells)
    row(*("---" for _ in cells))
