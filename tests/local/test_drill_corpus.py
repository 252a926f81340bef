"""Whatever befalls a store or its manifest fails the drill, which names it and nothing else; what is sound passes."""

import itertools
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.verdicts import satisfies
from chalicelib.flows.open_recovery import open_drill
from chalicelib.flows.recover import recover
from chalicelib.wire import recovery_report_key
from ebbtide_agent import manifest
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.entry import Header, read_real
from ebbtide_agent.fakesuper import ACCESS_ACL, DEFAULT_ACL
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.report import manifest_key
from ebbtide_agent.restore import progress, session
from ebbtide_agent.restore.boot_image import Boot
from ebbtide_agent.restore.compare import MOST_FINDINGS, shown
from ebbtide_agent.restore.materialise import is_allowed
from ebbtide_agent.restore.probe import probe
from ebbtide_agent.restore.recovery import parse_brief
from ebbtide_console.sandbox import awkward
from tests.local import corpus
from tests.local.corpus import Harm, Store, befalls, lose, of_kind, reattribute, rerecord, with_mode, without_acl
from tests.recoveries import a_world_with_backups, its

UNPRIVILEGED = 61001
HOST, RUN, VOLUME = "us0a", "main/2026-11-23/1", "vol-0def"
NOW = datetime(2026, 11, 24, 9, 5, tzinfo=UTC)
# Each befalls so many files of its kind, by chance; EBBTIDE_EXAMPLES asks for more, as `make long` does.
EXAMPLES = int(os.environ.get("EBBTIDE_EXAMPLES", "1"))
SEEDS = range(1, 1 + EXAMPLES)
CLEAN = range(max(2, EXAMPLES))
NUMBERS = itertools.count(1)
RSYNC = ("rsync", "-aHAX", "--numeric-ids", "--modify-window=-1", "-M--fake-super")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not is_allowed(), reason="owners, devices and trusted attributes need all of root"),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
]

BEFALLEN = [
    befalls("the tree is empty", corpus.remove_all, finds="{0}: missing"),
    befalls("a file is missing", corpus.remove(of_kind("f")), finds="{0}: missing"),
    befalls("a directory is missing, and what was in it", corpus.remove(of_kind("d")), finds="{0}: missing"),
    befalls("a symlink is missing", corpus.remove(of_kind("l")), finds="{0}: missing"),
    befalls("a further name of a file is missing", corpus.remove(corpus.is_linked), finds="{0}: missing"),
    befalls("a file too many", corpus.add(Path.touch), finds="{0}: extra, not in the manifest"),
    befalls("a directory too many", corpus.add(Path.mkdir), finds="{0}: extra, not in the manifest"),
    befalls("a file has another name", corpus.rename, finds="{0}: missing\n{1}: extra, not in the manifest"),
    befalls(
        "a bit is flipped, size and time are as they were",
        corpus.flip_a_bit,
        finds="{0}: content: expected sha256 …, found …",
    ),
    befalls(
        "a file's content is all zeros",
        corpus.rewrite(of_kind("f"), lambda content: bytes(len(content))),
        finds="{0}: content: expected sha256 …, found …",
    ),
    befalls(
        "a file is cut short",
        corpus.rewrite(of_kind("f"), lambda content: content[:-1]),
        finds="{0}: size: expected …, found …\n{0}: content: expected sha256 …, found …",
    ),
    befalls(
        "a file is emptied",
        corpus.rewrite(of_kind("f"), lambda content: b""),
        finds="{0}: size: expected …, found 0\n{0}: content: expected sha256 …, found …",
    ),
    befalls(
        "a byte is appended",
        corpus.rewrite(of_kind("f"), lambda content: content + b"\0"),
        finds="{0}: size: expected …, found …\n{0}: content: expected sha256 …, found …",
    ),
    befalls(
        "two files alike have each other's content",
        corpus.swap_twins,
        finds="{0}: content: expected sha256 …, found …",
    ),
    befalls(
        "another owner",
        rerecord(of_kind("fdlcbs"), lambda now: replace(now, uid=now.uid + 1)),
        finds="{0}: owner: expected …, found …",
    ),
    befalls(
        "another group",
        rerecord(of_kind("fdlcbs"), lambda now: replace(now, gid=now.gid + 1)),
        finds="{0}: owner: expected …, found …",
    ),
    befalls(
        "another mode",
        rerecord(without_acl("fdcbs"), lambda now: replace(now, mode=now.mode ^ 1)),
        finds="{0}: mode: expected …, found …",
    ),
    befalls(
        "setuid is lost",
        rerecord(with_mode(0o4000, "f"), corpus.without_mode(0o4000)),
        finds="{0}: mode: expected …, found …",
    ),
    befalls(
        "setgid of a directory is lost",
        rerecord(with_mode(0o2000, "d"), corpus.without_mode(0o2000)),
        finds="{0}: mode: expected 2775, found 0775",
    ),
    befalls(
        "the sticky bit is lost",
        rerecord(with_mode(0o1000, "d"), corpus.without_mode(0o1000)),
        finds="{0}: mode: expected 1777, found 0777",
    ),
    befalls("a file is a nanosecond younger", corpus.later("f", 1), finds="{0}: mtime: expected … ns, found … ns"),
    befalls("a file is a second younger", corpus.later("f", 10**9), finds="{0}: mtime: expected … ns, found … ns"),
    befalls("a symlink is a nanosecond older", corpus.later("l", -1), finds="{0}: mtime: expected … ns, found … ns"),
    befalls(
        "an attribute is lost",
        lose("user.note"),
        finds="{0}: attribute user.note: expected …, found none",
    ),
    befalls(
        "an attribute is another",
        reattribute("user.note", lambda value: value + b"!"),
        finds="{0}: attribute user.note: expected …, found …",
    ),
    befalls(
        "an attribute too many", corpus.add_an_attribute, finds="{0}: attribute user.added: expected none, found 78"
    ),
    befalls(
        "a trusted attribute is lost",
        lose("user.rsync.trusted.note"),
        finds="{0}: attribute trusted.note: expected …, found none",
    ),
    befalls(
        "a capability is lost",
        lose("user.rsync.security.capability"),
        finds="{0}: attribute security.capability: expected …, found none",
    ),
    befalls(
        "an ACL gives another right",
        corpus.give_another_right,
        finds="{0}: attribute system.posix_acl_access: expected …, found …",
    ),
    befalls(
        "an ACL is lost",
        lose(ACCESS_ACL),
        finds="{0}: attribute system.posix_acl_access: expected …, found none",
    ),
    befalls(
        "a directory's default ACL is lost",
        lose(DEFAULT_ACL),
        finds="{0}: attribute system.posix_acl_default: expected …, found none",
    ),
    befalls(
        "a hard link is broken, the content is the same",
        corpus.break_a_hard_link,
        finds="{1}: hard link of: expected {0}, found none",
    ),
    befalls(
        "two equal files are linked that were not",
        corpus.link_equals,
        finds="{0}: hard link of: expected none, found {0}\n{1}: hard link of: expected none, found {0}",
    ),
    befalls(
        "a symlink leads elsewhere",
        corpus.rewrite(of_kind("l"), lambda target: target[:-1] + b"?"),
        finds="{0}: target: expected …, found …",
    ),
    befalls(
        "a device has another number",
        rerecord(of_kind("cb"), lambda now: replace(now, rdev=(now.rdev[0], now.rdev[1] + 1))),
        finds="{0}: device: expected …, found …",
    ),
    befalls(
        "a block device has become a character device",
        rerecord(of_kind("b"), corpus.as_kind(stat.S_IFCHR)),
        finds="{0}: kind: expected b, found c",
    ),
    befalls(
        "a FIFO has become a file",
        rerecord(lambda each: each.kind == "p", corpus.as_kind(stat.S_IFREG)),
        finds="{0}: kind: expected p, found f",
    ),
    befalls(
        "a socket has become a FIFO",
        rerecord(of_kind("s"), corpus.as_kind(stat.S_IFIFO)),
        finds="{0}: kind: expected s, found p",
    ),
    befalls("what is recorded of a file is lost", corpus.forget_the_record, finds="{0}: owner: expected …, found …"),
    befalls(
        "what is recorded of a file is spoiled",
        corpus.spoil_the_record,
        finds="could not finish: ValueError: not a %stat of rsync: …",
        verdict="failed",
    ),
    befalls(
        "the manifest is cut short",
        corpus.of_manifest(lambda whole: whole[: len(whole) // 2]),
        finds="could not finish: EOFError: …",
        verdict="failed",
    ),
    befalls(
        "a byte of the manifest is another",
        corpus.of_manifest(lambda whole: whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]),
        finds="could not finish: BadGzipFile: …",
        verdict="failed",
    ),
    befalls(
        "the manifest is empty", corpus.of_manifest(lambda whole: b""), finds="could not finish: …", verdict="failed"
    ),
    befalls("the manifest's last lines are gone", corpus.unlist_some, finds="{0}: extra, not in the manifest"),
    befalls("the manifest lists nothing", corpus.unlist_all, finds="{0}: extra, not in the manifest"),
    befalls(
        "the manifest lists an entry twice",
        corpus.list_twice,
        finds="could not finish: ValueError: out of order: … after …",
        verdict="failed",
    ),
    befalls(
        "the manifest is another host's",
        corpus.of_header(b"us0a", b"eu0a"),
        finds="could not finish: PermanentError: … is of eu0a in main/2026-11-23/1",
        verdict="failed",
    ),
    befalls(
        "the manifest is another night's",
        corpus.of_header(b"2026-11-23", b"2026-11-22"),
        finds="could not finish: PermanentError: … is of us0a in main/2026-11-22/1",
        verdict="failed",
    ),
    befalls(
        "the manifest is not in the archive",
        corpus.briefed(manifest=f"manifests/{HOST}/never.jsonl.gz"),
        finds="could not finish: PermanentError: manifests/us0a/never.jsonl.gz is not in the archive",
        verdict="failed",
    ),
    befalls(
        "the manifest is another than its report tells of",
        corpus.briefed(manifest_sha256="0" * 64),
        finds="could not finish: PermanentError: manifests/… is not what its report tells of: its digest is another",
        verdict="failed",
    ),
    befalls(
        "the point has no manifest",
        corpus.briefed(manifest=None),
        finds="there is no manifest of this restore point: nothing to compare with",
        verdict="unproven",
    ),
    befalls(
        "the manifest has no digest of a file",
        corpus.forget_a_digest,
        finds="files that have no digest, so that their content is not compared: 1",
        verdict="unproven",
    ),
    befalls(
        "the image has no init",
        corpus.briefed(probe="http://127.0.0.1/"),
        finds="http://127.0.0.1/: not asked: the image has no init, and the policy has no `start` for its host",
        verdict="content only",
    ),
]
# The path of the address is the status that it is answered with.
ASKED = [
    befalls(
        "the service does not answer",
        corpus.briefed(probe="http://127.0.0.1:9/"),
        finds="http://127.0.0.1:9/: no answer: [Errno 111] Connection refused",
        verdict="content only",
    ),
    befalls(
        "the service answers with an error",
        corpus.briefed(probe="http://127.0.0.1:8080/500"),
        finds="http://127.0.0.1:8080/500: 500 Internal Server Error",
        verdict="content only",
    ),
    befalls(
        "the service breaks off its answer",
        corpus.briefed(probe="http://127.0.0.1:8080/0"),
        finds="http://127.0.0.1:8080/0: no answer: Remote end closed connection without response",
        verdict="content only",
    ),
    befalls(
        "the service breaks off the body of its answer",
        corpus.briefed(probe="http://127.0.0.1:8080/206"),
        finds="http://127.0.0.1:8080/206: no answer: its body ends 997 bytes too early",
        verdict="content only",
    ),
    befalls(
        "the service leads to where nothing answers",
        corpus.briefed(probe="http://127.0.0.1:8080/302"),
        finds="http://127.0.0.1:8080/302: no answer: [Errno 111] Connection refused at https://www.example.org:9/",
        verdict="content only",
    ),
    befalls(
        "the service's TCP port is closed",
        corpus.briefed(probe="tcp://127.0.0.1:9"),
        finds="tcp://127.0.0.1:9: no answer: [Errno 111] Connection refused",
        verdict="content only",
    ),
    befalls(
        "the command that asks fails",
        corpus.briefed(probe="command: sh -c 'echo no database; exit 3'"),
        finds="command: sh -c 'echo no database; exit 3': exit code 3: no database",
        verdict="content only",
    ),
    befalls(
        "the command that asks hangs",
        corpus.briefed(probe="command: sleep 1000"),
        finds="command: sleep 1000: not over after 1 s: it said nothing",
        verdict="content only",
    ),
    befalls(
        "the command that asks is not in the image",
        corpus.briefed(probe="command: no-such-command"),
        finds="command: no-such-command: exit code 127: no-such-command: not found in the image",
        verdict="content only",
    ),
]
# Where the address is answered well.
ANSWERS = "http://127.0.0.1:8080/200"
# What is stored and serves as ever: no machine of a drill can see it, only who opens one.
AGED = [
    befalls(
        "nothing newer was backed up for days",
        corpus.briefed(recovery=f"{HOST}/{NOW.date()}/1", probe=ANSWERS),
        finds="stale: its newest restore point is of 2026-11-21 03:00 UTC, expected one of the last 3 days",
        verdict="proven",
    ),
]

SERVE = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Status(BaseHTTPRequestHandler):
    def do_GET(self):
        status = int(self.path[1:])
        if status == 302:
            self.send_response(status)
            self.send_header("Location", "https://www.example.org:9/")
            self.end_headers()
        elif status == 206:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"<ht")
        elif status:
            self.send_response(status)
            self.end_headers()


server = HTTPServer(("127.0.0.1", 8080), Status)
print(os.readlink("/proc/self"), flush=True)
server.serve_forever()
"""


class Archive(Cloud):
    """In memory: what S3 makes of each call is other tests', and takes longer than a drill."""

    def __init__(self) -> None:
        super().__init__("archive", "us-east-1")
        self.objects: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def download(self, key: str, path: Path) -> None:
        path.write_bytes(self.get(key))

    def put_once(self, key: str, body: bytes | Path) -> bool:
        self.objects.setdefault(key, body.read_bytes() if isinstance(body, Path) else body)
        return True

    def send_event(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Nobody listens."""


@pytest.fixture
def cloud() -> Cloud:
    return Archive()


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that another user may enter, on a real file system."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-test-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def room(place: Path) -> Iterator[Path]:
    """Of one test alone."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def stored(place: Path) -> Store:
    """The awkward tree as a receiver stores it, with files that are alike in all but content, and in all."""
    source = place / "source"
    awkward.grow(source)
    (source / "sparse").unlink()
    for directory, content in (("twins", "number {}"), ("equals", "all the same")):
        (source / directory).mkdir()
        for number in range(4):
            path = source / directory / str(number)
            path.write_text(content.format(number))
            os.utime(path, ns=(0, 1700000000987654321))
    return a_store(place, source)


def a_store(place: Path, source: Path) -> Store:
    """What a receiver, which is not root, makes of a source."""
    tree = place / "stored" / "hosts" / HOST / "tree"
    tree.mkdir(parents=True)
    os.chown(tree, UNPRIVILEGED, UNPRIVILEGED)
    shell = place / "shell"
    drop = f"setpriv --reuid {UNPRIVILEGED} --regid {UNPRIVILEGED} --clear-groups --inh-caps=-all"
    shell.write_text(f'#!/bin/sh\nshift\nexec {drop} "$@"\n')
    shell.chmod(0o755)
    subprocess.run([*RSYNC, "-e", str(shell), f"{source}/", f"receiver:{tree}/"], check=True, timeout=120)
    manifest.write(tree, "fake-super", None, place / "manifest", Header(HOST, RUN, "fake-super"))
    return Store(tree, place / "manifest", random.Random())


def drilled(
    stored: Store, harm: Harm, seed: int, cloud: Cloud, machine: Path
) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """What a drill reports of a copy of the store that has come to harm, and where that was."""
    paths, number = MachinePaths(machine), next(NUMBERS)
    copy = Store(machine / "volume/hosts" / HOST / "tree", machine / "manifest", random.Random(seed))
    copy.tree.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", "--reflink=auto", stored.tree, copy.tree], check=True, timeout=120)
    shutil.copy(stored.manifest, copy.manifest)
    with corpus.unseen(copy.tree):
        harmed = harm(copy)

    key = manifest_key(HOST, RUN, "", number)
    cloud.put_once(key, copy.manifest)
    paths.device(VOLUME).parent.mkdir(parents=True)
    paths.device(VOLUME).symlink_to(machine / "volume")
    brief = json.loads(Path("tests/contract/wire/brief-recovery.json").read_text())
    brief |= {"recovery": f"{HOST}/2026-11-24/{number}", "run": RUN, "probe": None}
    brief |= {"manifest": key, "manifest_sha256": cloud.digest(key)} | copy.brief
    session.prove(parse_brief(json.dumps(brief).encode()), paths, cloud, lambda: NOW)
    return json.loads(cloud.get(f"recoveries/{brief['recovery']}/{brief['nonce']}/report.json")), harmed


def expected(finds: str, harmed: tuple[bytes, ...]) -> list[str]:
    """A pattern for each finding."""
    paths, lines = [shown(path) for path in harmed], finds.splitlines()
    if "{0}" in finds and "{1}" not in finds:
        findings = [line.format(path) for path in paths for line in lines]
    else:
        findings = [line.format(*paths) for line in lines]
    return [re.escape(finding).replace("…", ".*") for finding in findings[:MOST_FINDINGS]]


@pytest.mark.fault("O8")
@pytest.mark.parametrize("seed", SEEDS, ids="seed {}".format)
@pytest.mark.parametrize(("harm", "finds", "verdict"), BEFALLEN)
def test_what_befell_fails_the_drill_and_is_all_that_it_finds(
    harm: Harm, finds: str, verdict: str, seed: int, stored: Store, cloud: Cloud, tmp_path: Path
) -> None:
    report, harmed = drilled(stored, harm, seed, cloud, tmp_path)

    patterns = expected(finds, harmed)
    assert report["verdict"] == verdict, report["findings"]
    assert not satisfies(verdict, ANSWERS, report["findings"])
    assert len(report["findings"]) == len(patterns), report["findings"]
    for pattern, finding in zip(patterns, report["findings"], strict=True):
        assert re.fullmatch(pattern, finding), report["findings"]


def test_what_nothing_befell_passes_and_nothing_is_found(stored: Store, cloud: Cloud, tmp_path: Path) -> None:
    report, _ = drilled(stored, lambda _: (), 0, cloud, tmp_path)

    assert (report["verdict"], report["findings"]) == ("content only", [])
    assert report["compared"]["entries"] == len(stored.entries(lambda _: True))


@pytest.mark.parametrize("seed", CLEAN, ids="seed {}".format)
def test_whatever_tree_chance_grows_passes_and_nothing_is_found(
    seed: int, room: Path, cloud: Cloud, tmp_path: Path
) -> None:
    corpus.grow_by_chance(room / "source", random.Random(seed))
    report, _ = drilled(a_store(room, room / "source"), lambda _: (), seed, cloud, tmp_path)
    grown = list(read_real(room / "source"))

    assert (report["verdict"], report["findings"]) == ("content only", [])
    assert report["compared"]["entries"] == len(grown)


@pytest.fixture(scope="module")
def leader(place: Path) -> Iterator[int]:
    """The first process of namespaces of its own, that serves there: what a drill knows of an image that is up."""
    apart = ("unshare", "--net", "--pid", "--fork", "--kill-child=SIGKILL")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine may not make namespaces of networks and processes")
    (place / "serve").write_text(SERVE)
    ready = ("sh", "-c", f"ip link set lo up && exec {sys.executable} {place}/serve")
    with subprocess.Popen([*apart, *ready], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.kill()


@pytest.fixture
def an_image_that_is_up(leader: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """How an image boots is another test's; here one has, and whoever asks it does so once."""
    monkeypatch.setattr(progress, "booted", lambda *_: nullcontext(Boot(leader, None, 0.0)))
    monkeypatch.setattr(progress, "probe", partial(probe, patience=0, command_seconds=1))


@pytest.mark.fault("O8")
@pytest.mark.parametrize(("harm", "finds", "verdict"), ASKED)
def test_an_image_that_does_not_answer_well_fails_the_drill(
    harm: Harm, finds: str, verdict: str, an_image_that_is_up: None, stored: Store, cloud: Cloud, tmp_path: Path
) -> None:
    report, _ = drilled(stored, harm, 0, cloud, tmp_path)

    assert (report["verdict"], report["findings"]) == (verdict, [finds])
    assert not satisfies(verdict, ANSWERS, [finds])


@pytest.mark.fault("O8")
@pytest.mark.parametrize(("harm", "finds", "verdict"), AGED)
def test_a_point_that_has_aged_fails_the_drill_however_well_it_comes_back(
    harm: Harm, finds: str, verdict: str, an_image_that_is_up: None, stored: Store, cloud: Cloud, tmp_path: Path
) -> None:
    world = a_world_with_backups(21)
    drill = open_drill("us0", world, NOW)
    report, _ = drilled(stored, harm, 0, cloud, tmp_path)
    world.archive.put_once(its(recovery_report_key, world, drill), json.dumps(report).encode())

    ended = recover(drill, world, NOW).recovery

    assert (ended.verdict, ended.findings) == (verdict, (finds,))
    assert not satisfies(ended.verdict, ANSWERS, ended.findings)


@pytest.mark.parametrize("asked", [ANSWERS, "tcp://127.0.0.1:8080", "command: test -r /etc/passwd"])
def test_an_image_that_answers_well_is_proven(
    asked: str, an_image_that_is_up: None, stored: Store, cloud: Cloud, tmp_path: Path
) -> None:
    report, _ = drilled(stored, corpus.briefed(probe=asked), 0, cloud, tmp_path)

    assert (report["verdict"], report["findings"]) == ("proven", [])


def test_what_an_image_does_not_see_of_its_tree_is_told_of_a_proven_one_too(
    an_image_that_is_up: None, room: Path, cloud: Cloud, tmp_path: Path
) -> None:
    opaque = room / "source/docker/opaque"
    opaque.mkdir(parents=True)
    os.setxattr(opaque, "trusted.overlay.opaque", b"y")
    os.mknod(opaque / "deleted", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(opaque / "null", stat.S_IFCHR, os.makedev(1, 3))

    report, _ = drilled(a_store(room, room / "source"), corpus.briefed(probe=ANSWERS), 0, cloud, tmp_path)

    (finding,) = report["findings"]
    assert report["verdict"] == "proven"
    assert "2 devices 0,0 or bearers of trusted.overlay" in finding and finding.endswith("docker/opaque")
