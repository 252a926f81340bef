"""`ebbtide find`: which paths a pattern means, which versions there are, what is told, and what is not read twice."""

import gzip
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from io import BytesIO
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import wire
from chalicelib.core import tags
from ebbtide_agent.entry import Entry, Header, encode, encode_header
from ebbtide_agent.manifest_file import find_in_manifest
from ebbtide_console import session
from ebbtide_console.cli.get import a_place
from ebbtide_console.cli.main import main
from ebbtide_console.past.pattern import as_typed, parse_pattern
from ebbtide_console.past.points import find_points
from ebbtide_console.past.search import search
from tests.builders import a_run, a_run_id, a_snapshot, what_was_briefed
from tests.fakes import FakeArchive, FakeMachines, FakeVolumes

Tree = Mapping[bytes, Entry]
POLICY = b'schema = 1\n[host.us0]\nid = "us0a"\n[host.eu0]\nid = "eu0a"\n'
ROOT = Entry(b".", "d", 0o755, 0, 0, 0, 0)


def a_file(path: bytes, size: int = 1, mode: int = 0o644, mtime: int = 1_763_000_000) -> Entry:
    return Entry(path, "f", mode, 0, 0, size, mtime * 10**9, sha256=hashlib.sha256(b"%d" % size).hexdigest())


def a_tree(*files: Entry) -> Tree:
    return {entry.path: entry for entry in (ROOT, *files)}


@dataclass
class CountingArchive(FakeArchive):
    """Knows which objects were copied out of it."""

    copied: list[str] = field(default_factory=list)

    def copy_to(self, file: IO[bytes], key: str) -> None:
        self.copied.append(key)
        super().copy_to(file, key)


class Past:
    """A snapshot a night in November 2026, and in the archive what each of its complete hosts had."""

    def __init__(self) -> None:
        self.archive = CountingArchive({"policies/000001.toml": POLICY})
        self.volumes = FakeVolumes(FakeMachines())
        self.account = session.Account("123456789012", "us-east-1", "the-archive", self.archive, self.volumes)

    def night(self, day: int, **trees: Tree) -> None:
        complete = tuple(f"{host}a" for host in trees)
        self.volumes.snapshots[f"snap-{day}"] = a_snapshot(f"snap-{day}", a_run_id(day), complete)
        for host_id, tree in zip(complete, trees.values(), strict=True):
            self._archive(day, host_id, tree)

    def _archive(self, day: int, host_id: str, tree: Tree) -> None:
        run, content = a_run(a_run_id(day)), "".join(encode(tree[path]) + "\n" for path in sorted(tree))
        body = gzip.compress(f"{encode_header(Header(host_id, str(run.id), 'real'))}\n{content}".encode())
        digests = {
            "sha256": hashlib.sha256(body).hexdigest(),
            "content": hashlib.sha256(content.encode()).hexdigest(),
        }
        manifest = {"key": manifest_key(day, host_id), **digests}
        report = {"schema": 1, "run": str(run.id), "id": host_id, "receiver": {"manifest": manifest}}
        self.archive.objects[manifest_key(day, host_id)] = body
        self.archive.objects.update(what_was_briefed(run))
        self.archive.objects[wire.report_key(run, host_id)] = json.dumps(report).encode()

    def lives(self, pattern: str) -> list[tuple[str, Entry, int, int, int | None]]:
        """Of each version the host, what it is, and the days of its first point, its last, and the one without it."""
        points, _ = find_points(self.account)
        found = search(points, parse_pattern(pattern), self.account, lambda _: None).versions
        return [
            (each.first.host, each.entry, each.first.at.day, each.last.at.day, each.gone and each.gone.at.day)
            for each in found
        ]


def manifest_key(day: int, host_id: str = "us0a") -> str:
    return f"manifests/{host_id}/{a_run_id(day)}.jsonl.gz"


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> Past:
    """Two nights of us0, between which a file was rewritten and one was deleted."""
    past = Past()
    past.night(21, us0=a_tree(a_file(b"etc/fstab"), a_file(b"srv/invoice.txt", 7)))
    past.night(22, us0=a_tree(a_file(b"etc/fstab", 2, mtime=1_763_700_000)))
    monkeypatch.setattr(session, "the_account", lambda: past.account)
    return past


# -- which paths are meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("fstab", b"etc/fstab"),
        ("f*b", b"etc/fstab"),
        ("[ef]stab", b"etc/fstab"),
        ("na?ve", "srv/naïve".encode()),
        ("a?b", b"srv/a\xffb"),
        ("*", b"srv/two\nlines"),
        ("[*]", b"srv/*"),
        ("/etc/fstab", b"etc/fstab"),
        ("/etc/*", b"etc/nginx/nginx.conf"),
        ("/etc/nginx/", b"etc/nginx"),
        ("*/fstab", b"etc/fstab"),
        ("*/fstab", b"fstab"),
        ("/", b"."),
    ],
)
def test_what_a_pattern_means(pattern: str, path: bytes) -> None:
    parsed = parse_pattern(pattern)

    assert parsed.matches(path)
    assert parsed.part in path


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("fstab", b"fstab/x"), ("/fstab", b"etc/fstab"), ("FSTAB", b"etc/fstab"), ("/etc/f", b"etc/fstab")],
)
def test_what_a_pattern_does_not_mean(pattern: str, path: bytes) -> None:
    assert not parse_pattern(pattern).matches(path)


@pytest.mark.parametrize(("pattern", "said"), [("", "it is empty"), ("etc/fstab", r"expected '/etc/fstab' or '\*/etc")])
def test_a_pattern_that_nothing_can_match_is_said_to_be_none(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_pattern(pattern)


# -- which versions there are -----------------------------------------------------------------------------------------

names = st.sampled_from([b"a", b"ab", b"b.txt", "ä".encode(), b"\xff", b"[x]", b"a\nb", b"%41", b'"', b"\\"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
files = st.builds(a_file, paths, st.integers(0, 1), st.sampled_from([0o644, 0o4755]))
trees = st.lists(files, max_size=6).map(lambda made: a_tree(*made))
# Several nights have the same tree.
pasts = st.lists(st.tuples(trees, st.integers(1, 3)), min_size=1, max_size=4).map(
    lambda made: [tree for tree, nights in made for _ in range(nights)]
)
globs = st.one_of(
    st.text(st.sampled_from("ab*?[]!.x"), min_size=1, max_size=4),
    st.tuples(st.sampled_from("/*"), st.text(st.sampled_from("ab*?[]/x\udcff"), max_size=5)).map("".join),
)


def naive_lives(nights: list[Tree], pattern: str) -> Iterator[tuple[str, Entry, int, int, int | None]]:
    """Path by path, night by night, with all of it in memory."""
    glob = pattern.rstrip("/") or "/"
    for path in {path for tree in nights for path in tree}:
        text = path.decode("utf-8", "surrogateescape")
        whole = "/" if path == b"." else f"/{text}"
        if not fnmatchcase(whole if "/" in glob else text.split("/")[-1], glob):
            continue
        held = [tree.get(path) for tree in nights]
        for day, entry in enumerate(held, 1):
            if entry is None or (day > 1 and held[day - 2] == entry):
                continue
            last = next((other for other in range(day, len(held)) if held[other] != entry), len(held))
            yield "us0", entry, day, last, last + 1 if last < len(held) and held[last] is None else None


@settings(max_examples=150)
@given(pasts, globs)
def test_it_finds_what_a_naive_search_finds_the_newest_first(nights: list[Tree], pattern: str) -> None:
    past = Past()
    for day, tree in enumerate(nights, 1):
        past.night(day, us0=tree)

    found = past.lives(pattern)

    assert sorted(found, key=repr) == sorted(naive_lives(nights, pattern), key=repr)
    assert found == sorted(found, key=lambda life: (-life[3], -life[2], life[1].path))


def test_where_the_store_keeps_it_and_its_other_names_are_no_change() -> None:
    past, entry = Past(), a_file(b"hard-2")
    past.night(21, us0=a_tree(entry))
    past.night(22, us0=a_tree(Entry(**{**vars(entry), "store": (7, 8), "group": b"hard-1"})))

    assert past.lives("hard-2") == [("us0", entry, 21, 22, None)]


def test_hosts_have_versions_of_their_own() -> None:
    past, older, newer = Past(), a_file(b"a", 1), a_file(b"a", 2)
    past.night(21, us0=a_tree(older), eu0=a_tree(newer))
    past.night(22, us0=a_tree(newer), eu0=a_tree(newer))

    assert past.lives("a") == [
        ("us0", newer, 22, 22, None),
        ("eu0", newer, 21, 22, None),
        ("us0", older, 21, 21, None),
    ]


# -- what is read -----------------------------------------------------------------------------------------------------


def test_a_manifest_that_did_not_change_is_read_once(past: Past) -> None:
    past.night(23, us0=a_tree(a_file(b"etc/fstab", 2, mtime=1_763_700_000)))

    past.lives("*")

    assert past.archive.copied == [manifest_key(21), manifest_key(22)]


def test_of_manifests_that_are_the_same_any_that_is_whole_does(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    past.night(23, us0=a_tree(a_file(b"etc/fstab", 2, mtime=1_763_700_000)))
    del past.archive.objects[manifest_key(22)]

    found = past.lives("fstab")
    del past.archive.objects[manifest_key(23)]
    main(["find", "fstab"])

    assert [life[2:] for life in found] == [(22, 23, None), (21, 21, None)]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in told] == ["us0 in main/2026-11-22/1", "us0 in main/2026-11-23/1"]


def test_a_manifest_of_another_host_is_not_searched(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    past.night(23, eu0=a_tree(a_file(b"etc/fstab")))
    theirs = past.archive.objects[manifest_key(23, "eu0a")]
    report = json.loads(past.archive.objects[wire.report_key(a_run(a_run_id(22)), "us0a")])
    report["receiver"]["manifest"] |= {"sha256": hashlib.sha256(theirs).hexdigest()}
    past.archive.objects[wire.report_key(a_run(a_run_id(22)), "us0a")] = json.dumps(report).encode()
    past.archive.objects[manifest_key(22)] = theirs

    main(["find", "fstab", "--host", "us0"])

    assert f"{manifest_key(22)} is of host eu0a" in capsys.readouterr().err


def test_a_time_as_it_is_shown_is_found_again_and_opens_that_very_point(
    past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = past.volumes.snapshots["snap-22"]
    past.volumes.snapshots["snap-22"] = replace(snapshot, started=snapshot.started.replace(microsecond=500_000))

    main(["find", "fstab", "--between", "2026-11-22", "2026-11-22"])
    shown = capsys.readouterr().out.splitlines()[1].split()[6]
    again = main(["find", "fstab", "--between", shown, shown])

    assert (shown, again) == ("2026-11-22T03:00:01Z", 0)


def test_only_points_of_the_host_and_the_days_asked_for_are_read(past: Past) -> None:
    past.night(23, us0=a_tree(), eu0=a_tree(a_file(b"etc/fstab")))

    main(["find", "fstab", "--host", "us0a", "--between", "2026-11-22", "2026-11-23"])

    assert past.archive.copied == [manifest_key(22), manifest_key(23)]


def test_a_long_manifest_takes_no_more_memory_than_a_short_one() -> None:
    line = encode(a_file(b"srv/a-long-name-that-nobody-looks-for"))
    manifests = [
        gzip.compress("\n".join((encode_header(Header("us0a", "main/1", "real")), *[line] * count, "")).encode())
        for count in (1_000, 30_000)
    ]

    peaks = []
    for manifest in manifests:
        tracemalloc.start()
        assert list(find_in_manifest(BytesIO(manifest), b"name", lambda path: path == b"srv")[1]) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 2 * peaks[0]


# -- what is told -----------------------------------------------------------------------------------------------------


def test_each_version_is_a_line_and_what_is_gone_comes_last(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["find", "*[bt]"])

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert lines == [
        "host mode size changed (UTC) first point last point gone since path",
        "us0 -rw-r--r-- 2 2025-11-21 04:40:00 2026-11-22T03:00:00Z 2026-11-22T03:00:00Z /etc/fstab",
        "us0 -rw-r--r-- 1 2025-11-13 02:13:20 2026-11-21T03:00:00Z 2026-11-21T03:00:00Z /etc/fstab",
        "us0 -rw-r--r-- 7 2025-11-13 02:13:20 2026-11-21T03:00:00Z 2026-11-21T03:00:00Z 2026-11-22T03:00:00Z"
        " /srv/invoice.txt",
    ]


def test_a_name_that_would_move_the_cursor_is_one_line_and_json_has_its_bytes(
    past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    past.night(23, us0=a_tree(a_file(b"srv/\x1b[2J\n\xff", mtime=10**12)))

    main(["find", "*[[]2J*"])
    shown = capsys.readouterr().out
    main(["find", "*[[]2J*", "--json"])
    (version,) = json.loads(capsys.readouterr().out)["versions"]

    (line,) = shown.splitlines()[1:]
    assert line.isprintable()
    assert line.endswith("  $'/srv/\\x1b[2J\\n\\xff'")
    assert "  @1000000000000  " in line
    assert version["quoted"] == "/srv/%1B[2J%0A%FF"
    assert version["last"] == {"at": "2026-11-23T03:00:00Z", "run": "main/2026-11-23/1", "snapshot": "snap-23"}
    assert version["gone"] is None


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@given(st.lists(names, min_size=1, max_size=4).map(b"/".join))
def test_what_is_shown_is_what_a_shell_makes_the_same_path_of_and_two_paths_never_look_the_same(path: bytes) -> None:
    shown = as_typed(path)

    word = shown if shown.startswith("$'") else shlex.quote(shown)
    typed = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert typed == path
    assert shown.isprintable()


def test_a_name_with_a_backslash_is_not_taken_for_one_with_what_that_stands_for() -> None:
    assert (as_typed(rb"/srv/new\nline"), as_typed(b"/srv/new\nl'\\e")) == (r"/srv/new\nline", r"$'/srv/new\nl\'\\e'")


def test_what_is_shown_is_found_and_can_be_got_as_a_shell_gives_it() -> None:
    typed = os.fsdecode(b"us0:/srv/a\n\xff")

    assert a_place(typed) == ("us0", b"srv/a\n\xff")
    assert parse_pattern(os.fsdecode(b"*\xff*")).matches(b"srv/a\n\xff")


def test_nothing_is_an_exit_code_of_its_own_and_not_a_word(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["find", "nowhere"])

    assert (code, *capsys.readouterr()) == (3, "", "")


Harm = Mapping[str, bytes | None]
HARM: Mapping[str, tuple[Harm, str]] = {
    "no report": ({wire.report_key(a_run(a_run_id(21)), "us0a"): None}, "/hosts/us0a.json is not in the archive"),
    "no brief": ({wire.brief_key(a_run_id(21), "vol-1"): None}, "runs/main/2026-11-21/1/…/brief.json is not in the"),
    "no manifest": ({manifest_key(21): None}, "manifests/us0a/main/2026-11-21/1.jsonl.gz is not in the archive"),
    "another manifest": ({manifest_key(21): b"x"}, "is not what its report tells of"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_could_not_be_searched_is_told_and_the_rest_is_searched(
    harm: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    objects, said = HARM[harm]
    for key, body in objects.items():
        del past.archive.objects[key]
        if body is not None:
            past.archive.objects[key] = body

    found, nothing = main(["find", "fstab"]), main(["find", "invoice.txt"])

    told = capsys.readouterr()
    assert (found, nothing) == (0, 1)
    assert told.out.splitlines()[1].endswith("/etc/fstab")
    assert told.err.splitlines()[0].startswith("ebbtide: not searched: us0 in main/2026-11-21/1: ")
    assert said in told.err
    assert told.err.splitlines()[-1] == "ebbtide: nothing matches in what could be searched, which is not all"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--host", "web1"], 1, "there is no restore point of web1; there are some of us0"),
        (["--between", "2026-10-01", "2026-10-02"], 1, "of 2 from 2026-11-21T03:00:00Z to 2026-11-22T03:00:00Z"),
        (["--between", "2026-11-02", "2026-11-01"], 2, "2026-11-02 is after 2026-11-01"),
        (["--between", "monday", "2026-11-01"], 2, "'monday', expected a time like"),
    ],
)
def test_where_there_is_nothing_to_search_it_is_said_why(
    words: list[str], code: int, said: str, past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended = main(["find", "fstab", *words])
    except SystemExit as error:
        ended = int(error.code or 0)

    assert ended == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--host", "us0"]])
def test_where_there_is_no_point_at_all_it_is_said_of_which_region(
    words: list[str], past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    past.volumes.snapshots.clear()

    assert main(["find", "fstab", *words]) == 1
    assert "there is no restore point in us-east-1: is that the region" in capsys.readouterr().err


def test_what_was_found_damaged_is_not_searched_and_that_is_said(
    past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    past.volumes.tag("snap-22", {tags.DAMAGED: "main/2026-11-23/1"})

    assert main(["find", "fstab"]) == 0
    err = capsys.readouterr().err

    assert "snapshot snap-22 of 2026-11-22 was found damaged" in err
    assert past.lives("fstab") == [("us0", a_file(b"etc/fstab"), 21, 21, None)]


def test_where_all_is_damaged_that_is_why_there_is_nothing(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    for snapshot in ("snap-21", "snap-22"):
        past.volumes.tag(snapshot, {tags.DAMAGED: "main/2026-11-23/1"})

    assert main(["find", "fstab"]) == 1
    assert capsys.readouterr().err.count("was found damaged") == 2
