"""The ready-made dump scripts: what all of them promise, shown with SQLite, which needs no server."""

import fcntl
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent.host import scripts
from tests.local.dumping import EXAMPLES, contents, edited, given, run_script, which
from tests.local.enclosed import processes_with

ODD = 'it\'s "odd" ü$(touch x)]\n;'
SCRIPTS = sorted(EXAMPLES.glob("[0-9]*"))
# Another program that keeps writing: in every transaction two rows that belong together.
WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=60)
for number in range(10**9):
    with database:
        database.execute("INSERT INTO pairs VALUES (?, 'left', randomblob(500))", (number,))
        database.execute("INSERT INTO pairs VALUES (?, 'right', randomblob(500))", (number,))
    print(number, flush=True)
    time.sleep(0.001)  # others want to read
"""
# It is killed with a transaction that is half written and a journal that says so.
KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 5")
database.execute("UPDATE t SET x = 'half of it'")
os.kill(os.getpid(), 9)
"""
# What the real one writes, but for what `then` does to it.
CUT_SHORT = """#!/bin/sh
{real} "$@" || exit
case $* in *.backup*) {then} ;; esac
"""
FULL = """
mount -t tmpfs -o size=256k tmpfs "$1" && cp -a "$2/." "$1" || exit 99
"$3"
code=$?
rm -rf "$2" && cp -a "$1" "$2" || exit 99
exit "$code"
"""


@pytest.fixture(autouse=True)
def programs() -> None:
    for name in ("sqlite3", "flock"):
        which(name)


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    return tmp_path / "var/dumps"


def a_database(path: Path, rows: int = 1000, mode: str = "delete") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE IF NOT EXISTS t (x)")
        database.execute("CREATE TABLE IF NOT EXISTS pairs (number, side, data)")
        database.executemany("INSERT INTO t VALUES (?)", [(bytes(range(256)),)] * rows)
    database.close()
    return path


def for_these(place: Path, *databases: Path, percent: int = 50) -> Path:
    """The script as an operator copies it, for these databases."""
    named = " ".join(f"'{quoted}'" for quoted in (str(path).replace("'", "'\\''") for path in databases))
    return edited("10-sqlite", place / "etc", DATABASES=f"({named})", SMALLEST_PERCENT=str(percent))


def a_fake(place: Path, name: str, program: str) -> str:
    """The PATH on which a script finds this program first."""
    fake = place / "bin" / name
    fake.parent.mkdir()
    fake.write_text(program)
    fake.chmod(0o755)
    return f"{fake.parent}:{scripts.PATH}"


def dump_of(database: Path, dumps: Path) -> Path:
    return dumps / "sqlite" / database.relative_to("/")


def rows_of(path: Path, query: str = "SELECT count(*), group_concat(DISTINCT hex(x)) FROM t") -> list[object]:
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


@contextmanager
def written_all_the_time(database: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(database)], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout and writer.stdout.readline() == b"0\n"
            yield
            assert writer.poll() is None
        finally:
            writer.kill()


def test_all_of_them_are_scripts_that_the_agent_finds_and_differ_only_where_they_say() -> None:
    shared = {
        re.split(r"^# -{20,}.*\n|^# -.*the same\. -+\n", path.read_text(), flags=re.MULTILINE)[1] for path in SCRIPTS
    }

    assert [path.name for path in SCRIPTS] == ["10-ldap", "10-mysql", "10-postgresql", "10-sqlite"]
    assert all(path.stat().st_mode & 0o111 for path in SCRIPTS)
    assert len(shared) == 1 and "finish() {" in shared.pop()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_copy_is_of_one_moment_though_another_program_writes(mode: str, tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / ODD / "shop.db", 100_000, mode)  # copied in many steps
    script = for_these(tmp_path, database)

    with written_all_the_time(database):
        result = run_script(script, given(dumps))

    copy = dump_of(database, dumps)
    assert result.exit_code == 0, result.output
    assert rows_of(copy) == [(100_000, bytes(range(256)).hex().upper())]
    assert rows_of(copy, "SELECT number FROM pairs GROUP BY number HAVING count(*) <> 2") == []
    assert rows_of(copy, "SELECT count(*) > 0 FROM pairs") == [(1,)]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_what_a_killed_program_left_half_written_is_not_in_the_copy(mode: str, tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / "shop.db", 1000, mode)
    before = rows_of(database)
    subprocess.run([sys.executable, "-c", KILLED, str(database)], check=False)
    assert list(tmp_path.glob("shop.db-*"))

    result = run_script(for_these(tmp_path, database), given(dumps))

    assert result.exit_code == 0, result.output
    assert rows_of(dump_of(database, dumps)) == before


def test_data_that_did_not_change_leaves_its_dump_as_it_is(tmp_path: Path, dumps: Path) -> None:
    script = for_these(tmp_path, a_database(tmp_path / "shop.db"))
    run_script(script, given(dumps))
    first = contents(dumps)

    result = run_script(script, given(dumps))

    assert result.exit_code == 0, result.output
    assert contents(dumps) == first


@pytest.mark.fault("H3")
@pytest.mark.parametrize(
    "then",
    [
        pytest.param(': >"$PWD/.part"', id="empty"),
        pytest.param('truncate -s 200000 "$PWD/.part"', id="cut"),
        pytest.param("dd if=/dev/zero of=.part bs=4096 seek=20 count=1 conv=notrunc status=none", id="damaged"),
    ],
)
def test_a_copy_that_is_not_whole_never_replaces_yesterdays(then: str, tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / "shop.db")
    script = for_these(tmp_path, database, percent=0)
    run_script(script, given(dumps))
    yesterday = contents(dumps)
    a_database(database)
    path = a_fake(tmp_path, "sqlite3", CUT_SHORT.format(real=which("sqlite3"), then=then))

    result = run_script(script, given(dumps, path))

    assert result.exit_code == 1
    assert "shop.db: not a whole dump" in result.output
    assert contents(dumps) == yesterday


@pytest.mark.fault("H3")
def test_a_full_disk_fails_the_script_and_keeps_yesterdays_copy(tmp_path: Path, dumps: Path) -> None:
    apart = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system needs a mount namespace")
    database = a_database(tmp_path / "shop.db", 100)
    script = for_these(tmp_path, database)
    run_script(script, given(dumps))
    yesterday = {name: data for name, (_, _, data) in contents(dumps).items()}
    a_database(database, 1000)
    full = tmp_path / "full"
    full.mkdir()

    within = (*apart, "sh", "-c", FULL, "sh", str(full), str(dumps))
    result = run_script(script, given(full), within)

    assert result.exit_code == 1, result.output
    assert "full" in result.output and "could not be dumped" in result.output
    assert {name: data for name, (_, _, data) in contents(dumps).items()} == yesterday


@pytest.mark.fault("H3")
def test_a_disk_that_does_not_keep_what_it_took_fails_the_script(tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / "shop.db")
    script = for_these(tmp_path, database)
    run_script(script, given(dumps))
    yesterday = contents(dumps)
    a_database(database)

    result = run_script(script, given(dumps, a_fake(tmp_path, "sync", "#!/bin/sh\nexit 1\n")))

    assert result.exit_code == 1
    assert "could not be put in place" in result.output
    assert contents(dumps) == yesterday


@pytest.mark.fault("H3")
def test_a_copy_far_smaller_than_yesterdays_waits_for_the_operators_word(tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / "shop.db")
    script = for_these(tmp_path, database)
    run_script(script, given(dumps))
    yesterday = contents(dumps)
    database.unlink()
    a_database(database, 10)

    refused = run_script(script, given(dumps))
    kept = contents(dumps)
    said = re.search(r"rm .*?(?= and run this again)", refused.output)
    subprocess.run(["bash", "-c", said[0] if said else "false"], check=True)
    accepted = run_script(script, given(dumps))

    assert (refused.exit_code, accepted.exit_code) == (1, 0), refused.output + accepted.output
    assert kept == yesterday
    assert rows_of(dump_of(database, dumps))[0] == rows_of(database)[0]


def test_one_that_fails_holds_no_other_one_up(tmp_path: Path, dumps: Path) -> None:
    databases = [a_database(tmp_path / f"{name}.db") for name in ("a", "b", "c")]
    databases[1].write_text("this is no database")

    result = run_script(for_these(tmp_path, *databases), given(dumps))

    assert result.exit_code == 1
    assert "b.db: could not be dumped" in result.output
    assert [dump_of(each, dumps).exists() for each in databases] == [True, False, True]


def test_the_dump_of_what_is_gone_goes_when_the_operator_says_so(tmp_path: Path, dumps: Path) -> None:
    stays, goes = a_database(tmp_path / "stays.db"), a_database(tmp_path / ODD)
    run_script(for_these(tmp_path, stays, goes), given(dumps))

    refused = run_script(for_these(tmp_path, stays), given(dumps))
    kept = dump_of(goes, dumps).exists()
    accepted = run_script(for_these(tmp_path, stays, percent=0), given(dumps))

    assert (refused.exit_code, accepted.exit_code) == (1, 0), refused.output + accepted.output
    assert "yesterday's dump is of something that is gone" in refused.output
    assert kept and not dump_of(goes, dumps).exists()
    assert dump_of(stays, dumps).exists()


@pytest.mark.parametrize(("named", "said"), [((), "no database is named"), (("gone*.db",), "is not there")])
def test_no_database_is_no_success(named: tuple[str, ...], said: str, tmp_path: Path, dumps: Path) -> None:
    script = for_these(tmp_path, *(tmp_path / name for name in named))

    result = run_script(script, given(dumps))

    assert result.exit_code == 1
    assert said in result.output


@pytest.mark.fault("H2")
def test_one_that_hangs_is_ended_with_all_it_started_and_leaves_nothing(tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / "shop.db")
    script = for_these(tmp_path, database)
    run_script(script, given(dumps))
    yesterday = contents(dumps)
    sleep = f"sleep 7{os.getpid()}"
    path = a_fake(tmp_path, "sqlite3", f"#!/bin/sh\necho half >.part\n{sleep}\n")

    result = run_script(script, given(dumps, path), limit=1)

    assert result.timed_out
    assert contents(dumps) == yesterday
    assert processes_with(sleep) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, dumps: Path) -> None:
    database = a_database(tmp_path / "shop.db")
    (dumps / "sqlite").mkdir(parents=True)
    for name in (".part", ".part-journal", ".part-wal"):
        (dumps / "sqlite" / name).write_text("half of something")

    result = run_script(for_these(tmp_path, database), given(dumps))

    assert result.exit_code == 0, result.output
    assert list(contents(dumps)) == [str(dump_of(database, dumps).relative_to(dumps))]


def test_a_second_one_at_the_same_time_is_refused(tmp_path: Path, dumps: Path) -> None:
    script = for_these(tmp_path, a_database(tmp_path / "shop.db"))
    (dumps / "sqlite").mkdir(parents=True)

    with (dumps / "sqlite/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run_script(script, given(dumps))

    assert result.exit_code == 1
    assert "it is running already" in result.output
    assert contents(dumps) == {}
