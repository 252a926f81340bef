"""Back to a service that answers: what a restore's machine does, beside rsync, restic and borg, which bring the files.

`PYTHONPATH=agent python -m bench.recovery TREE [TREE ...]` makes a Debian server with a copy of the trees (but for
files above 2 MB) below /srv, backs it up through a receiver, and brings it back in four ways, in turns, each round
beginning with another: as a restore's machine does, from the volume to an answer of the image's web server, and then
on until it is compared; by `rsync -aHAXS` from a machine that has the tree as it is; by `restic restore` and `borg
extract` from repositories over there. These three go through one sshd, with the same cipher, onto a new file system.
What is read is in memory for each of them. In the first round every tree is compared with the server. All of it is in
a network of its own, which the restored server is given. Needs root, restic and borgbackup.
"""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NoReturn

from bench.blocks import a_little_later
from bench.paired import Far, a_copy_of, counted_apart, size_mib, size_of
from bench.walls import Shell, a_shell
from ebbtide_agent.entry import Entry, read_real
from ebbtide_agent.host.link import World
from ebbtide_agent.host.night import Night, run
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.receiver import confine
from ebbtide_agent.restore.compare import compare
from tests.debian import a_server
from tests.local.receiver_machine import (
    BUCKET,
    NONCE,
    REGION,
    RUN,
    SITE_PACKAGES,
    VOLUME,
    Aws,
    Receiver,
    Volume,
    a_receiver,
    an_aws,
    wait_until,
    wait_until_free,
)
from tests.loops import a_loop_device

ROUNDS = 3
# Of our share; an answer is to come before any of them is done.
GOALS = {"rsync": 0.25, "restic restore": 1.0, "borg extract": 1.0}
PROBE = "http://127.0.0.1/"
LOOK_EVERY_SECONDS = 0.05
PASSWORD = "of a bench"
# What has to be there, and the package that brings it.
NEEDED = {
    "borg": "borgbackup", "mmdebstrap": "mmdebstrap", "restic": "restic", "systemd-nspawn": "systemd-container",
}  # fmt: skip
# The steps that lie between a volume that is there and an image that can be started, and what they use of processors.
OUR_SHARE = ("mount", "materialise")
SHARE_OF_PROCESSORS = "until it can be started"
# From the program's start until its web server answers, and until it is compared and reported: on the wall, and of
# processors.
ANSWERING, ALL = ("answering", "answering, of processors"), ("all of it", "all of it, of processors")
_TOTALS = (SHARE_OF_PROCESSORS, *ANSWERING, *ALL)
_APART = "EBBTIDE_BENCH_APART"
MIB = 1 << 20

# Restores once, and says what its parts took, if it knows.
Restore = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Took:
    """Seconds on the wall, of processors, and of the parts."""

    wall: float
    processor: float
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Place:
    """Where one restore is about to go: how it is done, and where its tree is to be found afterwards."""

    restore: Restore
    tree: Callable[[], AbstractContextManager[Path]]


Way = Callable[[int], AbstractContextManager[Place]]


@dataclass(frozen=True)
class Ours:
    """A restore's machine, as its user data starts it, on a copy of the volume that the night's receiver let go of."""

    place: Path
    image: Path
    receiver: Receiver
    used: Far
    copied: list[float] = field(default_factory=list)

    @contextmanager
    def made_ready(self, number: int) -> Iterator[Place]:
        root, image = self.place / f"machine-{number}", self.place / "copy.img"
        begun = time.monotonic()
        subprocess.run(["cp", "--sparse=always", str(self.image), str(image)], check=True)
        self.copied.append(time.monotonic() - begun)
        warm(image)
        try:
            with a_loop_device(image) as device:
                self._brief(root, number, device)
                yield Place(lambda: self._restore(root, number), lambda: self._tree(root, device))
        finally:
            subprocess.run(["umount", "--quiet", str(root / "srv/ebbtide")], check=False)
            image.unlink()

    def _brief(self, root: Path, number: int, device: Path) -> None:
        at = root / f"dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{VOLUME.replace('-', '')}"
        for new in (at.parent, root / "home", root / "etc/ebbtide"):
            new.mkdir(parents=True)
        at.symlink_to(device)
        manifest = f"manifests/us0a/{RUN}.jsonl.gz"
        about = {
            "recovery": _recovery(number),
            "run": RUN,
            "volume": {"id": VOLUME},
            "manifest": manifest,
            "manifest_sha256": hashlib.sha256(self.receiver.aws.body(manifest)).hexdigest(),
            "probe": PROBE,
            "nonce": NONCE,
        }
        brief = f"recoveries/{_recovery(number)}/brief.json"
        example = json.loads(Path("tests/contract/wire/brief-restore.json").read_text())
        self.receiver.aws.put(brief, json.dumps(example | about).encode())
        instance = {"role": "recovery", "id": _recovery(number), "attempt": 1}
        where = {"bucket": BUCKET, "region": REGION, "brief": brief}
        (root / "etc/ebbtide/instance.json").write_text(json.dumps({"schema": 1, **instance, **where}))

    def _restore(self, root: Path, number: int) -> Mapping[str, float]:
        environment = {
            **self.receiver.aws.environment,
            "EBBTIDE_ROOT": str(root),
            "HOME": str(root / "home"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": SITE_PACKAGES,
        }
        argv = (sys.executable, str(self.receiver.agent), "recovery", "boot")
        begun, before = time.monotonic(), self.used()

        def since_its_start() -> tuple[float, float]:
            return time.monotonic() - begun, self.used() - before

        with (
            subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as machine,
            ThreadPoolExecutor(1) as outside,
        ):
            assert machine.stdout
            asking = outside.submit(when_it_answers, machine, since_its_start)
            used = {}
            # It says each step when it begins; that of the verdict is the last while its server stands.
            for line in machine.stdout:
                used[line.split(": ")[-1].strip()] = self.used()
                if line.rstrip().endswith(": proven"):
                    break
            key = f"recoveries/{_recovery(number)}/{NONCE}/report.json"
            report = wait_until(lambda: self.receiver.aws.find(key), "the report")
            compared = since_its_start()
            machine.terminate()
            machine.stdout.read()
        assert report["verdict"] == "proven", report
        totals = dict(zip((*ANSWERING, *ALL), (*asking.result(), *compared), strict=True))
        return {**report["timings"], SHARE_OF_PROCESSORS: used["boot"] - used["mount"], **totals}

    @contextmanager
    def _tree(self, root: Path, device: Path) -> Iterator[Path]:
        wait_until_free(device)
        with mounted(device, root / "srv/ebbtide", "ro") as volume:
            yield volume / "hosts/us0a/tree"


@dataclass(frozen=True)
class Peer:
    """What restores with one command onto a new file system, and on a machine that has nothing else: no cache."""

    place: Path
    size: int
    source: Path
    command: Callable[[Path], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def made_ready(self, _: int) -> Iterator[Place]:
        warm(self.source)
        image = self.place / "new.img"
        with image.open("wb") as file:
            file.truncate(self.size)
        _run("mkfs.ext4", "-q", str(image))
        try:
            # What the kernel would still do to such a file system in the background is spared to whoever restores.
            with mounted(image, self.place / "new", "loop,noatime,noinit_itable") as new:
                (new / "tree").mkdir()
                yield Place(lambda: self._restore(new), lambda: _as_it_is(new / "tree"))
        finally:
            image.unlink()

    def _restore(self, new: Path) -> Mapping[str, float]:
        with tempfile.TemporaryDirectory(prefix="ebbtide-bench-", dir="/var/tmp") as home:
            environment = os.environ | self.environment | {"HOME": home}
            _run(*self.command(new / "tree"), cwd=new / "tree", environment=environment)
        return {}


def when_it_answers(machine: "subprocess.Popen[str]", since: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Of its web server, to somebody who asks from outside."""
    while machine.poll() is None:
        asking = http.client.HTTPConnection("127.0.0.1", timeout=5)
        try:
            asking.request("GET", "/")
            assert asking.getresponse().status == 200
            return since()
        except OSError:
            time.sleep(LOOK_EVERY_SECONDS)
        finally:
            asking.close()
    raise AssertionError(f"the machine has ended, and {PROBE} has never answered")


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    if missing := sorted(package for program, package in NEEDED.items() if shutil.which(program) is None):
        print(f"not installed: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    if _APART not in os.environ:
        a_server()  # Made where there is a mirror.
        go_apart(arguments)
    with a_copy_of(arguments) as place, an_aws() as aws, counted_apart(os.getpid()) as used:
        server = a_server_with(place)
        (place / "far").mkdir()
        with a_shell(place / "far", server) as shell, a_night_of(server, place, aws, used) as ours:
            size = int(1.5 * size_mib(server)) * MIB
            ways = {
                "ours": ours.made_ready,
                "rsync": by_rsync(place, size, server, shell).made_ready,
                "restic restore": by_restic(place, size, server, shell).made_ready,
                "borg extract": by_borg(place, size, server, shell).made_ready,
            }
            print(f"{size_of(server)}; medians of {ROUNDS} rounds\n", flush=True)
            show(medians(ways, used, list(read_real(server, _content))), median(ours.copied))
    return 0


def go_apart(arguments: list[str]) -> NoReturn:
    """Be this once more, in a network of our own, and with mounts that no namespace of somebody else's holds on to."""
    again = (sys.executable, "-m", "bench.recovery", *arguments)
    apart = ("unshare", "--net", "--mount", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    os.execvpe(apart[0], [*apart, *again], {**os.environ, _APART: "yes"})


def a_server_with(place: Path) -> Path:
    """A Debian that starts a web server, the tree of this place below its /srv; it is in memory."""
    server = place / "server"
    _run("rsync", "-aHAX", f"{a_server()}/", f"{server}/")
    (place / "tree").rename(server / "srv/files")
    return server


@contextmanager
def a_night_of(server: Path, place: Path, aws: Aws, used: Far) -> Iterator[Ours]:
    """Back the server up as host us0 to a receiver, which lets go of its volume."""
    image = place / "volume.img"
    with image.open("wb") as file:
        file.truncate((1024 + 2 * size_mib(server)) * MIB)
    with a_loop_device(image) as device:
        receiving = a_receiver(aws, confine.SEPARATE, ("us0",), minutes=600, volume=Volume(device, "ext4"))
        with receiving as receiver:
            paths = receiver.configure("us0", server, place / "etc", WHOLE_SYSTEM="no")
            reported = run(Night(paths, World(a_little_later), os.environ))
            assert reported.is_complete, (*reported.problems, receiver.log())
            receiver.process.wait(60)
            yield Ours(place, image, receiver, used)


def by_rsync(place: Path, size: int, server: Path, shell: Shell) -> Peer:
    words = ("rsync", "-aHAXS", "--numeric-ids", "-e", shell.ssh, f"127.0.0.1:{server}/")
    return Peer(place, size, server, lambda tree: (*words, f"{tree}/"))


def by_restic(place: Path, size: int, server: Path, shell: Shell) -> Peer:
    there = place / "restic"
    # In quotes, as a comma would begin another option.
    reached = f'"sftp.command={shell.ssh} 127.0.0.1 -s sftp"'
    words = ("restic", "-q", "-r", f"sftp:127.0.0.1:{there}", "-o", reached)
    environment = {"RESTIC_PASSWORD": PASSWORD}
    for making in (("init",), ("--no-cache", "backup", ".")):
        _run(*words, *making, cwd=server, environment=os.environ | environment)
    return Peer(place, size, there, lambda tree: (*words, "restore", "latest", "--target", str(tree)), environment)


def by_borg(place: Path, size: int, server: Path, shell: Shell) -> Peer:
    there = place / "borg"
    repository = f"ssh://127.0.0.1{there}"
    environment = {"BORG_RSH": shell.ssh, "BORG_PASSPHRASE": PASSWORD}
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-", dir="/var/tmp") as home:
        for making in (("init", "--encryption", "repokey", repository), ("create", f"{repository}::night", ".")):
            _run("borg", *making, cwd=server, environment=os.environ | environment | {"HOME": home})
    words = ("borg", "extract", "--numeric-ids", f"{repository}::night")
    return Peer(place, size, there, lambda _: words, environment)


def medians(ways: Mapping[str, Way], used: Far, wanted: Sequence[Entry]) -> dict[str, Took]:
    """What each way took, in the middle of all rounds."""
    found: dict[str, list[Took]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(ROUNDS):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            with ways[name](number) as place:
                found[name].append(_measured(used, place.restore))
                print(f"{name}: {found[name][-1]}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
                if number == 0:
                    with place.tree() as tree:
                        tell_what_differs(name, wanted, tree)
    return {name: _median(each) for name, each in found.items()}


def _measured(used: Far, restore: Restore) -> Took:
    # What was written to make it ready is on the disk.
    os.sync()
    before, begun = used(), time.monotonic()
    parts = restore()
    return Took(time.monotonic() - begun, used() - before, parts)


def _median(found: Sequence[Took]) -> Took:
    parts = {name: median(each.parts[name] for each in found) for name in found[0].parts}
    return Took(median(each.wall for each in found), median(each.processor for each in found), parts)


def tell_what_differs(name: str, wanted: Sequence[Entry], tree: Path) -> None:
    found = compare(wanted, read_real(tree, _content))
    count = found.missing + found.extra + found.different
    print(f"{name}: {found.entries} entries compared with the server, {count} differ", *found.findings[:3], sep="\n  ")


def show(found: Mapping[str, Took], copied: float) -> None:
    ours = found["ours"].parts
    steps = {name: seconds for name, seconds in ours.items() if name not in _TOTALS}
    share = sum(ours[step] for step in OUR_SHARE)
    answering, everything = (Took(ours[wall], ours[processor], {}) for wall, processor in (ANSWERING, ALL))
    before_it_answers = sum(seconds for step, seconds in steps.items() if step != "compare")
    print("\n| of ours | s |\n|---|---|")
    print(f"| the volume, copied here, and not counted | {copied:.2f} |")
    print("\n".join(f"| {step} | {seconds:.2f} |" for step, seconds in steps.items() if step != "compare"))
    print(f"| program, archive | {answering.wall - before_it_answers:.2f} |")
    print(f"| compare, while it stands | {steps['compare']:.2f} |")
    print("\n| wall s / CPU s | | our share | goal | answering | goal | all of ours |\n|---|---|---|---|---|---|---|")
    print(f"| ours, until it can be started | {share:.2f} / {ours[SHARE_OF_PROCESSORS]:.2f} | | | | | |")
    print(f"| ours, answering | {_told(answering)} | | | | | |")
    print(f"| ours, compared as well and reported | {_told(everything)} | | | | | |")
    for name, goal in GOALS.items():
        peer = found[name].wall
        ratios = (
            f"{share / peer:.2f}",
            f"{goal:.2f}",
            f"{answering.wall / peer:.2f}",
            "1",
            f"{everything.wall / peer:.2f}",
        )
        print(f"| {' | '.join((name, _told(found[name]), *ratios))} |")


def _told(took: Took) -> str:
    return f"{took.wall:.2f} / {took.processor:.2f}"


def warm(path: Path) -> None:
    """Read it, so that whoever comes next finds it in memory; not its holes, which would take some as well."""
    _run("tar", "-S", "-cf", "/dev/zero", "-C", str(path.parent), path.name)


@contextmanager
def mounted(device: Path, at: Path, options: str) -> Iterator[Path]:
    at.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", options, str(device), str(at))
    try:
        yield at
    finally:
        _run("umount", str(at))


@contextmanager
def _as_it_is(tree: Path) -> Iterator[Path]:
    yield tree


def _recovery(number: int) -> str:
    return f"us0a/2026-11-24/{number + 1}"


def _content(where: bytes, _: Entry) -> str:
    return sha256_of(where)


def _run(*argv: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    ended = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{argv[0]} ended with exit code {ended.returncode}: {ended.stdout}{ended.stderr}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
