"""The ready-made dump scripts against PostgreSQL, MariaDB and OpenLDAP as Debian has them; see `make databases`."""

import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent.host import scripts
from ebbtide_agent.report import ScriptResult
from tests.local.databases import KINDS, Kind
from tests.local.dumping import DUMPS, EXAMPLES, FAKES, LIMIT_SECONDS, Machine, a_machine, contents, given, run_script

pytestmark = [pytest.mark.root, pytest.mark.namespaces]

# Dump programs that end with exit code 0 all the same.
NOTHING = "#!/bin/sh\n"
CUT = """#!/bin/bash
{program} "$@" | head -c {bytes}
exit 0
"""
# It dies, or its server does, once it has written so much that more must follow.
KILLED = """#!/bin/bash
exec 3< <(exec {program} "$@")
reader=$!
head -c 100000 <&3 | tee /tmp/begun
if [ "$(stat -c %s /tmp/begun)" = 100000 ]; then
    kill -9 {killed} && touch /tmp/killed
fi
cat <&3
wait "$reader"
"""
HANGS = """#!/bin/sh
echo half
sleep 1000
"""
FULL_DISK = "/srv/full"
# There is room for a beginning.
FULL = """
set -eu
mkdir "$2"
mount -t tmpfs -o size=64m tmpfs "$2"
cp -a "$1/." "$2"
fallocate -l $(($(stat -f -c '%a * %S' "$2") - 65536)) "$2/filling"
"""


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def served(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with data, of which yesterday's dumps are made."""
    place = tmp_path_factory.mktemp(kind.name)
    with a_machine_with(kind, place, place / "dumps") as machine:
        kind.fill(machine)
        dumped = dump(machine, kind)
        assert dumped.exit_code == 0, dumped.output
        yield machine


@contextmanager
def a_machine_with(kind: Kind, place: Path, dumps: Path) -> Iterator[Machine]:
    """One whose server runs, with the script in place."""
    with a_machine(place / "machine", dumps) as machine:
        machine.put(f"/etc/backupscripts/{kind.script}", (EXAMPLES / kind.script).read_text())
        kind.start(machine)
        yield machine


def dump(
    machine: Machine, kind: Kind, path: str = scripts.PATH, limit: float = LIMIT_SECONDS, into: Path = DUMPS
) -> ScriptResult:
    script = Path("/etc/backupscripts") / kind.script
    environment = {**given(machine.dumps, path), "EBBTIDE_DUMPS": str(into)}
    return run_script(script, environment, machine.enter, limit)


def dump_with(machine: Machine, kind: Kind, program: str, limit: float = LIMIT_SECONDS) -> ScriptResult:
    """Let the script find another program where it looks for the one that dumps."""
    fake = f"{FAKES}/{Path(kind.program).name}"
    machine.put(fake, program)
    try:
        return dump(machine, kind, f"{FAKES}:{scripts.PATH}", limit)
    finally:
        machine.run("rm", fake)


def texts(dumps: Path) -> dict[str, bytes]:
    """What is in the dumps, but for PostgreSQL's keys, drawn anew each time, and when MariaDB's routines were made."""
    passing = re.compile(rb"^\\(un)?restrict \w+$|'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'", re.MULTILINE)
    return {name: passing.sub(b"", gzip.decompress(data)) for name, (_, _, data) in contents(dumps).items()}


def test_a_fresh_server_becomes_what_the_dumped_one_was(kind: Kind, served: Machine, tmp_path: Path) -> None:
    facts, dumped = kind.facts(served), texts(served.dumps)

    with a_machine_with(kind, tmp_path, tmp_path / "dumps") as other:
        kind.restore(other, served.dumps)
        restored = kind.facts(other)
        again = dump(other, kind)

    assert restored == facts
    assert again.exit_code == 0, again.output
    assert texts(tmp_path / "dumps") == dumped


def test_data_that_did_not_change_leaves_its_dumps_as_they_are(kind: Kind, served: Machine) -> None:
    before = contents(served.dumps)

    result = dump(served, kind)

    assert result.exit_code == 0, result.output
    assert contents(served.dumps) == before


def test_data_that_changed_replaces_its_own_dump_only(kind: Kind, served: Machine) -> None:
    before = contents(served.dumps)
    kind.change(served)

    result = dump(served, kind)

    after = contents(served.dumps)
    assert result.exit_code == 0, result.output
    assert [name for name in after if after[name] != before[name]] == [kind.changes]


@pytest.mark.fault("H3")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(lambda kind, size: NOTHING, id="empty"),
        pytest.param(lambda kind, size: CUT.format(program=kind.program, bytes=size // 3), id="a third"),
        pytest.param(lambda kind, size: CUT.format(program=kind.program, bytes=size - 100), id="all but the end"),
    ],
)
def test_a_dump_that_is_not_whole_never_replaces_yesterdays(
    program: Callable[[Kind, int], str], kind: Kind, served: Machine
) -> None:
    yesterday = contents(served.dumps)
    size = len(gzip.decompress(yesterday[kind.changes][2]))

    result = dump_with(served, kind, program(kind, size))

    assert result.exit_code == 1
    assert "not a whole dump" in result.output
    assert contents(served.dumps) == yesterday


@pytest.mark.fault("H3")
def test_a_full_disk_fails_the_script_and_keeps_yesterdays_dumps(kind: Kind, served: Machine) -> None:
    served.run("sh", "-c", FULL, "sh", str(DUMPS), FULL_DISK)

    result = dump(served, kind, into=Path(FULL_DISK))

    assert result.exit_code == 1
    assert "No space left on device" in result.output
    served.run("rm", f"{FULL_DISK}/filling")
    served.run("diff", "-r", str(DUMPS), FULL_DISK)


@pytest.mark.fault("H3")
def test_what_dies_in_the_middle_fails_the_script_and_keeps_yesterdays_dump(kind: Kind, served: Machine) -> None:
    yesterday = contents(served.dumps)

    try:
        result = dump_with(served, kind, KILLED.format(program=kind.program, killed=kind.killed))
    finally:
        kind.start(served)

    assert result.exit_code == 1
    assert "could not be dumped" in result.output
    assert served.works("test", "-e", "/tmp/killed")
    assert contents(served.dumps) == yesterday


@pytest.mark.fault("H2")
def test_one_that_hangs_is_ended_and_the_next_run_finds_nothing_of_it(kind: Kind, served: Machine) -> None:
    yesterday = contents(served.dumps)

    result = dump_with(served, kind, HANGS, limit=1)
    is_ended = not served.works("pgrep", "-x", "sleep")
    again = dump(served, kind)

    assert result.timed_out
    assert is_ended
    assert again.exit_code == 0, again.output
    assert contents(served.dumps) == yesterday
