"""What is explained is what rsync does, for every path and every pattern, and the line that decides is named."""

import codecs
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as some

from ebbtide_agent.host.explain import Explainer, decider_of
from ebbtide_agent.host.filters import Rule, rules
from ebbtide_agent.host.rsync_rules import RsyncRules
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.host_main import main
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.test_course import A_CONFIG
from tests.unit.agent.test_scan import needs_rsync, taken_by_rsync

_PLACES = [
    "a/a", "a/b", "a/ab/a", "a.b/b", "b/a/b/a", "b/[ab]", "b/a*", "lost+found/x", "c d/e", "é", "proc/1", "tmp/a/b",
    "home/a/.cache/x", "\\#012", "a because of pattern b",
]  # fmt: skip
_SIMPLE = ["a", "b", "/", "*", "?", "**", "ab", ".", "é", "a/", "/a", "/b/", "lost+found", " "]
_BEYOND = ["[ab]", "[!a]", "[^b]", "[[:alpha:]]", "[", "]", "\\a", "\\*", "\\", "/***", "***", "//", "./", "../"]


def patterns(pieces: Sequence[str], most: int) -> some.SearchStrategy[str]:
    whole = some.lists(some.sampled_from(pieces), min_size=1, max_size=most).map("".join)
    return whole.filter(lambda pattern: pattern.strip() != "" and not pattern.startswith(("+ ", "- ")))


def includes(pieces: Sequence[str], most: int) -> some.SearchStrategy[list[str]]:
    return some.lists(patterns(pieces, most).map(lambda pattern: "/" + pattern.lstrip("/")), max_size=2)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for place in _PLACES:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    (root / b"not-utf8-\xff".decode(errors="surrogateescape")).symlink_to("a")
    (root / "new\nline").touch()
    os.mkfifo(root / "a/fifo")
    (root / "lost+found/link").symlink_to("x")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(root / "b/s"))
    listening.close()
    return root


def an_explainer(tree: Path, include: Sequence[str], exclude: Sequence[str], whole: bool) -> Explainer:
    etc = tree.with_name("etc")
    config = replace(A_CONFIG, root=tree, include=tuple(include), exclude=tuple(exclude), whole_system=whole)
    return Explainer(config, HostPaths(etc, etc))


def paths_in(tree: Path) -> list[bytes]:
    base = os.fsencode(tree)
    found = [
        directory + b"/" + name
        for directory, *names in os.walk(base)
        for name in (name for each in names for name in each)
    ]
    return sorted(path[len(base) + 1 :] for path in found)


def backed_up(explainer: Explainer, tree: Path, paths: Sequence[bytes]) -> set[bytes]:
    return {path for path in paths if explainer.explain(os.fsencode(tree) + b"/" + path).verdict.is_backed_up}


@needs_rsync
@settings(max_examples=40, deadline=None)
@given(include=includes(_SIMPLE, 5), exclude=some.lists(patterns(_SIMPLE, 5), max_size=3), whole=some.booleans())
@example(include=["/b/a", "/home/*/.cache"], exclude=["a/b"], whole=True)
@example(include=["/"], exclude=["b/**"], whole=False)
def test_what_is_explained_is_what_rsync_takes(
    tree: Path, include: Sequence[str], exclude: Sequence[str], whole: bool
) -> None:
    paths, chosen = paths_in(tree), rules(include, exclude, whole)
    assume(not is_beyond(chosen))

    explained = backed_up(an_explainer(tree, include, exclude, whole), tree, paths)

    assert explained == taken_by_rsync(tree, include, exclude, whole) & set(paths)


def is_beyond(chosen: Sequence[Rule]) -> bool:
    try:
        return not Selection(chosen)
    except Undecidable:
        return True


@needs_rsync
@settings(max_examples=10, deadline=None)
@given(
    include=includes([*_SIMPLE, *_BEYOND], 3),
    exclude=some.lists(patterns([*_SIMPLE, *_BEYOND], 4), max_size=2),
    beyond=some.sampled_from(_BEYOND),
    asked=some.lists(some.integers(0, 1000), min_size=3, max_size=3),
)
@example(include=["/[bl]*"], exclude=["b/\\[*", "lost+found/***"], beyond="[[:digit:]]", asked=range(0, 40, 4))
@example(include=[], exclude=["*because of*", "\\\\*", "*\\#0*"], beyond="*[\n]*", asked=range(0, 40, 4))
def test_what_only_rsync_can_decide_is_put_to_rsync(
    tree: Path, include: Sequence[str], exclude: Sequence[str], beyond: str, asked: Sequence[int]
) -> None:
    everything = paths_in(tree)
    paths = sorted({everything[number % len(everything)] for number in asked})
    explainer = an_explainer(tree, include, [*exclude, beyond], whole=False)

    explained = backed_up(explainer, tree, paths)

    assert explained == taken_by_rsync(tree, include, [*exclude, beyond], False) & set(paths)


@needs_rsync
def test_a_path_that_is_not_there_is_answered_as_it_will_be_once_it_is(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    for exclude in ("new/", "ne[w]/", "/etc/new", "new/***", "other"):
        explainer = an_explainer(tree, [], [exclude], whole=False)
        where = os.fsencode(tree / "etc/new")
        before = [explainer.explain(where + end).verdict.is_backed_up for end in (b"", b"/", b"/file")]

        (tree / "etc/new").touch()
        after = [explainer.explain(where).verdict.is_backed_up]
        (tree / "etc/new").unlink()
        (tree / "etc/new").mkdir()
        (tree / "etc/new/file").touch()
        after += [explainer.explain(where + end).verdict.is_backed_up for end in (b"", b"/file")]
        taken = taken_by_rsync(tree, [], [exclude], False)
        shutil.rmtree(tree / "etc/new")

        assert before == after
        assert before[1:] == [b"etc/new" in taken, b"etc/new/file" in taken]


WHOLE = "HOST=us0\nTARGET=receiver://backup.example.org\nKEEP=7\n"


def explained(place: Path, *asked: str, capsys: pytest.CaptureFixture[str], **files: str) -> tuple[int, list[str]]:
    """The command's exit code and its lines, each without where this test keeps things."""
    etc, root = place / "etc", place / "root"
    etc.mkdir(exist_ok=True)
    for name, text in {"config": f"{WHOLE}ROOT={root}\n", **files}.items():
        (etc / f"backup_{name}").write_text(text)
    code = main(["explain", "--etc", str(etc), *(str(root) + path for path in asked)])
    return code, capsys.readouterr().out.replace(f"{root}/", "/").replace(f"{etc}/", "").splitlines()


def a_root(place: Path) -> Path:
    for name in ("etc/ssl/key", "srv/data/file", "srv/other", "proc/1", "usr/lib/x"):
        (place / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "root" / name).touch()
    (place / "root/lib").symlink_to("usr/lib")
    return place / "root"


def test_the_line_that_decides_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_root(tmp_path)
    exclude = "# mine\n*.gz\n\n/etc/ssl\n"

    code, lines = explained(
        tmp_path, "/etc/ssl", "/etc/ssl/key", "/a.gz", "/proc/1", "/usr/lib/x", capsys=capsys, exclude=exclude
    )

    assert code == 1
    assert lines == [
        "/etc/ssl: not backed up; backup_exclude:4: /etc/ssl excludes it",
        "/etc/ssl/key: not backed up; backup_exclude:4: /etc/ssl excludes /etc/ssl, which it is in",
        "/a.gz: not there, would not be backed up; backup_exclude:2: *.gz excludes it",
        "/proc/1: not backed up; /proc/*, never backed up of a whole system, excludes it",
        "/usr/lib/x: backed up; nothing excludes it",
    ]


def test_the_place_that_asks_for_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_root(tmp_path)

    code, lines = explained(
        tmp_path, "/srv/data/file", "/srv", "/srv/other", "/etc/ssl/key", capsys=capsys, include="\n/srv/data/\n"
    )

    assert code == 1
    assert lines == [
        "/srv/data/file: backed up; backup_include:2: /srv/data/ asks for it",
        "/srv: backed up; it leads to backup_include:2: /srv/data/",
        "/srv/other: not backed up; no line of backup_include asks for it",
        "/etc/ssl/key: not backed up; no line of backup_include asks for /etc, which it is in",
    ]


def test_what_is_no_entry_of_the_tree_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_root(tmp_path)

    _, lines = explained(tmp_path, "/lib/x", "/etc/ssl/key/x", "/lib", "/../etc", "/new", capsys=capsys, exclude="new/")

    assert lines == [
        "/lib/x: not backed up; /lib is a symbolic link to usr/lib, and what is there has a path of its own",
        "/etc/ssl/key/x: not there, would not be backed up; /etc/ssl/key is no directory",
        "/lib: backed up; nothing excludes it",
        f"{tmp_path}/etc: not backed up; it is not below ROOT, which is {tmp_path}/root",
        "/new: not there, would be backed up; nothing excludes it; a directory would not be: "
        "backup_exclude:1: new/ excludes it",
    ]


def test_what_would_lead_to_a_place_as_a_directory_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_root(tmp_path)

    _, lines = explained(tmp_path, "/srv/new", capsys=capsys, include="/srv/new/x\n")

    assert lines == [
        "/srv/new: not there, would not be backed up; no line of backup_include asks for it; "
        "a directory would be: it leads to backup_include:1: /srv/new/x"
    ]


def test_the_backup_is_no_part_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = a_root(tmp_path)
    config = f"HOST=us0\nTARGET={root}/srv/backup\nKEEP=7\nROOT={root}\n"

    code, lines = explained(tmp_path, "/srv/backup/2026/x", "/srv/backup/", capsys=capsys, config=config)

    assert code == 1
    assert lines == [
        "/srv/backup/2026/x: not there, would not be backed up; /srv/backup/*, the backup itself "
        "or what the agent keeps for itself, excludes /srv/backup/2026, which it is in",
        "/srv/backup: not there, would be backed up; nothing excludes it",
    ]


def test_another_file_system_ends_the_way(tmp_path: Path) -> None:
    if os.lstat("/proc").st_dev == os.lstat("/").st_dev:
        pytest.skip("nothing is mounted at /proc")
    config = replace(A_CONFIG, root=Path("/"), whole_system=False, one_file_system=True)
    explainer = Explainer(config, HostPaths(tmp_path, tmp_path))

    inside, itself = explainer.explain(b"/proc/version").verdict, explainer.explain(b"/proc").verdict

    assert (inside.is_backed_up, itself.is_backed_up) == (False, True)
    assert inside.why == "/proc is another file system, and ONE_FILE_SYSTEM is yes"


def test_a_path_that_rsync_does_not_take_is_not_backed_up(tmp_path: Path) -> None:
    explainer = an_explainer(tmp_path, [], ["[a]"], whole=False)

    answer = explainer.explain(os.fsencode(tmp_path) + b"/long" * 1000)

    assert not answer.verdict.is_backed_up and "more than 4095 bytes" in answer.verdict.why


def test_a_path_as_long_as_rsync_takes_one_is_looked_at_below_the_systems_own_root(tmp_path: Path) -> None:
    config = replace(A_CONFIG, root=Path("/"), whole_system=False)
    path = (os.fsencode(tmp_path) + b"/not-there" * 500)[:4094] + b"x"

    answer = Explainer(config, HostPaths(tmp_path, tmp_path)).explain(path)

    assert (answer.is_there, answer.verdict.is_backed_up) == (False, True)


def test_answers_are_given_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = a_root(tmp_path)

    code, lines = explained(tmp_path, "/etc/\udcff\n", capsys=capsys)
    main(["explain", "--json", "--etc", str(tmp_path / "etc"), f"{root}/etc/\udcff\n"])

    assert (code, lines) == (0, ["/etc/\\xff\\n: not there, would be backed up; nothing excludes it"])
    assert json.loads(capsys.readouterr().out) == [
        {"path": f"{root}/etc/\udcff\n", "is_there": False, "is_backed_up": True, "why": "nothing excludes it"}
    ]


@contextmanager
def somebody(root: int = 0o755) -> Iterator[Path]:
    """Be an ordinary user, with a tree in which not all is his to read; `root` is the mode of its root."""
    with TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        for name in ("etc/passwd", "etc/shadow", "root/file", "passed/file"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).touch()
        (tree.parent / "backup_config").write_text(f"{WHOLE}ROOT={tree}\n")
        # Python may lie where only root may look, and reads this one when it is asked for it first.
        codecs.lookup("utf-8-sig")
        user, modes = os.geteuid(), (("etc/shadow", 0), ("root", 0), ("passed", 0o311), ("..", 0o755), (".", root))
        for name, mode in modes:
            (tree / name).chmod(mode)
        os.seteuid(user or 65534)
        try:
            yield tree
        finally:
            os.seteuid(user)
            for name, _ in reversed(modes):
                (tree / name).chmod(0o755)


CLOSED = "is closed to this user, who runs the backup"


@pytest.mark.parametrize(
    ("path", "is_there", "as_himself", "as_root"),
    [
        ("etc/passwd", True, (True, "nothing excludes it"), (True, "nothing excludes it")),
        ("etc/shadow", True, (False, "this user, who runs the backup, may not read it"), (True, "nothing excludes it")),
        ("root", True, (True, "nothing excludes it"), (True, "nothing excludes it")),
        ("passed/file", True, (False, f"/passed {CLOSED}"), (True, "nothing excludes it")),
        ("root/file", None, (False, f"/root {CLOSED}"), (None, "/root is closed to this user: ask as root")),
    ],
)
def test_nobody_is_told_of_what_he_may_not_read_that_it_is_backed_up_unless_root_does_it(
    path: str, is_there: bool | None, as_himself: tuple[bool, str], as_root: tuple[bool | None, str]
) -> None:
    with somebody() as tree:
        config = replace(A_CONFIG, root=tree, whole_system=False)
        for etc, expected in ((tree, as_himself), (HostPaths.etc, as_root)):
            answer = Explainer(config, HostPaths(etc, tree)).explain(os.fsencode(tree / path))

            assert answer.is_there is is_there
            assert (answer.verdict.is_backed_up, answer.verdict.why.replace(str(tree), "")) == expected


def test_what_cannot_be_told_is_said_so_and_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    with somebody(root=0) as tree:
        words = ["explain", "--etc", str(tree.parent), f"{tree}/etc/passwd"]

        codes = [main(words), main([*words, "--json"])]

    line, told = capsys.readouterr().out.split("\n", 1)
    (answer,) = json.loads(told)
    assert codes == [1, 1]
    assert line == f"{tree}/etc/passwd: cannot be told; {tree} is closed to this user: ask as root"
    assert (answer["is_there"], answer["is_backed_up"]) == (None, None)


def test_a_path_that_is_not_absolute_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "etc/passwd"])

    assert ended.value.code == 2
    assert "'etc/passwd' does not start with /" in capsys.readouterr().err


def test_rsync_is_asked_only_where_the_scan_cannot_tell() -> None:
    assert isinstance(decider_of(replace(A_CONFIG, exclude=("*.[ab]",)), HostPaths()), RsyncRules)
    assert not isinstance(decider_of(replace(A_CONFIG, exclude=("*.b",)), HostPaths()), RsyncRules)
