"""About what a month costs, as a table: every part, how it came about, the sum, and the budgets."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 1000  # how a part came about is one line, to grep and to cut; a terminal wraps by itself


def show(answer: Mapping[str, Any], width: int = WIDTH) -> int:
    """Print the whole answer of `cost`; 0, for an estimate is neither good nor bad."""
    console = Console(width=width, markup=False, highlight=False)
    table = Table("part", "USD a month", "how it came about", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for part in answer["parts"]:
        table.add_row(part["what"], f"{part['usd_a_month']:.2f}", part["how"])
    table.add_row("together", f"{answer['usd_a_month']:.2f}", f"about {12 * answer['usd_a_month']:.0f} USD a year")
    console.print(table)
    for line in _after(answer):
        console.print(line, soft_wrap=True)
    return 0


def _after(answer: Mapping[str, Any]) -> list[str]:
    return [
        _budget(answer),
        *_of_drills(answer.get("drills")),
        *(f"not counted: {each}" for each in answer["not_counted"]),
        f"an estimate by {answer['prices']}; the truth is in AWS's bill",
    ]


def _of_drills(drills: Mapping[str, Any] | None) -> list[str]:
    """Nothing of a deployment that does not tell them apart yet."""
    return [f"drills: {drills['usd_a_month']:.2f} USD of that a month; {_budget(drills)}"] if drills else []


def _budget(costs: Mapping[str, Any]) -> str:
    if not costs["budget"]:
        return "budget: the policy sets none"
    over = "over it" if costs["usd_a_month"] > costs["budget_usd_a_month"] else "within it"
    return f"budget: {costs['budget']}, {over}"
