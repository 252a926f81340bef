"""Take one guard out at a time and see that a test goes red: `python -m tools.mutations [WORD…] [--write]`.

Each mutation is applied to a copy of the tree, never to the checkout, and only the tests that should notice it are run.
Words choose the mutations whose names hold one of them; `--write` puts what came of them into docs/mutations.md, where
the rest stay as they were last tried.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from ebbtide_console.procs import capture
from tools.mutated import MUTATIONS
from tools.mutated.mutation import Mutation

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/mutations.md"
AT_ONCE = 2
# For each test, or file of tests, that is named.
A_LONG_TIME_S = 600
SURVIVED = "SURVIVED"

_NOT_THE_TREE = shutil.ignore_patterns(".git", ".venv", ".ebbtide", "build", "__pycache__", ".*_cache", ".hypothesis")
_HEAD = "| mutation | what it takes out | noticed by |\n|---|---|---|\n"


@dataclass(frozen=True)
class Outcome:
    """Which test noticed the mutation first; SURVIVED when none did, or why it could not be tried."""

    mutation: Mutation
    noticed_by: str
    is_noticed: bool


def main(arguments: Sequence[str]) -> int:
    chosen, writes = asked(arguments)
    with TemporaryDirectory() as room:
        trees = [_a_copy(Path(room) / str(number)) for number in range(AT_ONCE)]
        if fault := _first_failure_unchanged(chosen, trees):
            print(f"before anything is changed {fault} fails: mend that first")
            return 2
        outcomes = _try_each(chosen, trees)
    print("\n" + table(outcomes))
    if writes:
        DOCUMENT.write_text(document(outcomes, DOCUMENT.read_text()))
    unnoticed = [each for each in outcomes if not each.is_noticed]
    print(f"{len(outcomes)} mutations, {len(unnoticed)} of them unnoticed")
    return 1 if unnoticed else 0


def asked(arguments: Sequence[str]) -> tuple[list[Mutation], bool]:
    """Which mutations to try, and whether to write what came of them. Raises SystemExit."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only mutations whose names hold one of these")
    parser.add_argument("--write", action="store_true", help="put what came of them into docs/mutations.md")
    options = parser.parse_args(arguments)
    chosen = [each for each in MUTATIONS if not options.words or any(word in each.name for word in options.words)]
    if not chosen:
        parser.error(f"no mutation's name holds {' or '.join(map(repr, options.words))}; see tools/mutated/")
    return chosen, options.write


def occurrences(mutation: Mutation, tree: Path = ROOT) -> int:
    """How often what it changes is there: once, or the list has rotted."""
    return (tree / mutation.file).read_text().count(mutation.text)


def table(outcomes: Sequence[Outcome]) -> str:
    return _HEAD + "".join(f"{beginning(each.mutation)}{each.noticed_by} |\n" for each in outcomes)


def beginning(mutation: Mutation) -> str:
    """What its row in the table begins with; what follows is who noticed."""
    return f"| {mutation.name} | {mutation.removes} | "


def document(outcomes: Sequence[Outcome], before: str) -> str:
    """The whole page, in the order of the list: what was tried now, and else the row of it that was there `before`."""
    rows = [*table(outcomes).splitlines(keepends=True), *before.splitlines(keepends=True)]
    last = [next((row for row in rows if row.startswith(beginning(each))), "") for each in MUTATIONS]
    return (
        "# Mutations: each guard taken out, and the test that goes red\n\n"
        "Written by `make mutations`. The list is `tools/mutated/`: where, what is taken out, and which tests\n"
        "should notice. What survives is a guard that no test holds, and fails the run.\n\n" + _HEAD + "".join(last)
    )


def _first_failure_unchanged(mutations: Sequence[Mutation], trees: Sequence[Path]) -> str | None:
    """All the tests that are named, dealt out to the trees."""
    named = sorted({test for each in mutations for test in each.tests})
    parts = [named[start :: len(trees)] for start in range(len(trees))]
    with ThreadPoolExecutor(len(trees)) as pool:
        faults = pool.map(_first_failure, trees, [part or named for part in parts])
        return next((fault for fault in faults if fault), None)


def _a_copy(tree: Path) -> Path:
    return Path(shutil.copytree(ROOT, tree, ignore=_NOT_THE_TREE))


def _try_each(mutations: Sequence[Mutation], trees: Sequence[Path]) -> list[Outcome]:
    """In their order, as many at a time as there are trees."""
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def tried(mutation: Mutation) -> Outcome:
        tree = free.get()
        try:
            outcome = _try(mutation, tree)
        finally:
            free.put(tree)
        print(f"{'noticed ' if outcome.is_noticed else 'UNNOTICED'} {mutation.name}: {outcome.noticed_by}", flush=True)
        return outcome

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(tried, mutations))


def _try(mutation: Mutation, tree: Path) -> Outcome:
    found = occurrences(mutation, tree)
    if found != 1:
        return Outcome(mutation, f"its text is {found} times in {mutation.file}, expected once", False)
    path = tree / mutation.file
    whole = path.read_text()
    path.write_text(whole.replace(mutation.text, mutation.instead))
    try:
        noticed_by = _first_failure(tree, mutation.tests)
    finally:
        path.write_text(whole)
    # One that was ended because it never came to its end has shown nothing.
    return Outcome(mutation, noticed_by or SURVIVED, (noticed_by or "").startswith("tests/"))


def _first_failure(tree: Path, tests: Sequence[str]) -> str | None:
    """The first test that fails, or what kept them from running; None when all of them pass."""
    pytest = (sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(tree))
    paths = [str(tree / test) for test in tests]
    command = ("env", "-C", str(tree), "timeout", str(A_LONG_TIME_S * len(tests)), *pytest, *paths)
    ended = capture(command)
    if ended.returncode == 0:
        return None
    return first_named(ended.stdout) or f"exit code {ended.returncode}"


def first_named(said: str) -> str | None:
    """The first test that pytest's summary says of that it failed; what a test has logged may begin in the same way."""
    failed = re.search(r"^(?:FAILED|ERROR) (?P<test>tests/[^\s\[]+(?:\[.*?\])?)(?: - |$)", said, re.MULTILINE)
    return failed["test"] if failed else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
