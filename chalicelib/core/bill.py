"""A month's bill as it is estimated: its parts, their sum, and what a policy lets the whole and its drills cost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.core.advice import Kind
from chalicelib.core.policy import Policy
from chalicelib.core.trouble import Trouble

ABOUT, ABOUT_DRILLS = "budget", "budget/drills"
MOST_PARTS_TOLD = 3


@dataclass(frozen=True)
class Part:
    """One item of a month's bill, and how it came about."""

    what: str
    usd: float
    how: str
    is_of_drills: bool = False


@dataclass(frozen=True)
class Cost:
    """A month, the largest part first, and what is not in it."""

    parts: tuple[Part, ...]
    not_counted: tuple[str, ...] = ()

    @property
    def usd_a_month(self) -> float:
        return sum(part.usd for part in self.parts)

    @property
    def of_drills(self) -> "Cost":
        return replace(self, parts=tuple(part for part in self.parts if part.is_of_drills))


@dataclass(frozen=True)
class Budget:
    """What something costs, and what it may: a limit such as `200 USD/year`, or None."""

    about: str
    kind: Kind
    name: str
    what: str
    limit: str | None
    cost: Cost

    @property
    def usd_a_month(self) -> float | None:
        return None if self.limit is None else a_month_of(self.limit)

    @property
    def is_exceeded(self) -> bool:
        return self.usd_a_month is not None and self.cost.usd_a_month > self.usd_a_month


def budgets(cost: Cost, policy: Policy) -> tuple[Budget, Budget]:
    """Of the whole, and of the drills in it."""
    drills = cost.of_drills
    return (
        Budget(ABOUT, Kind.BUDGET, "the budget", "it costs", policy.alarm.budget, cost),
        Budget(ABOUT_DRILLS, Kind.DRILL_BUDGET, "the budget of drills", "drills cost", policy.drill.budget, drills),
    )


def a_month_of(limit: str) -> float:
    """A policy's money, such as `200 USD/year`, in USD a month."""
    amount, _, period = limit.partition(" USD/")
    return float(amount) / (12 if period == "year" else 1)


def over_budget(of: Iterable[Budget], now: datetime) -> Iterator[Trouble]:
    """Told of each where a month's estimate is more than a month of its budget."""
    for budget in of:
        if budget.limit is None or not budget.is_exceeded:
            continue
        usd, parts = budget.cost.usd_a_month, budget.cost.parts[:MOST_PARTS_TOLD]
        yield Trouble(
            about=budget.about,
            kind=budget.kind,
            name=budget.name,
            what=f"{budget.what} about {usd:.2f} USD a month, {12 * usd:.0f} a year; {budget.name} is {budget.limit}",
            since=now,
            occurrence=budget.limit,
            details=tuple(f"{part.what}: {part.usd:.2f} USD ({part.how})" for part in parts),
        )
