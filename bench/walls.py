"""What a receiver costs: the same rsync into a plain directory, and through key, gate and walls; and the agent's push.

`PYTHONPATH=agent python -m bench.walls TREE [TREE ...]` copies the trees (but for files above 2 MB) and pushes the
copy in four ways, in turns, each round beginning with another, all with the same cipher: by `rsync -aHAXS --delete`
as root over an ssh with a shell into a directory, with real owners; the same with owners in extended attributes
(`--fake-super`), without which nobody but root could keep them; by the same rsync as host eu0 of a receiver, in
namespaces, as a user of its own; and as the agent of host us0 does it. Needs root.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.paired import Cost, Far, a_copy_of, change, counted_apart, forget, medians, size_of
from bench.push import ByIndex, Plain, machine_of
from ebbtide_agent.host import ciphers
from ebbtide_agent.receiver import confine
from tests.local.ports import a_free_port
from tests.local.receiver_machine import Receiver, a_key, a_receiver, an_aws, wait_until

ROUNDS = 7
# What each of them pushes stays until the end, four times, so that none uses inodes anew: ten times the tree and more.
FULL_ROUNDS = 3
GOALS = {"first push, in full": 1.25, "nothing changed": 1.15, "1 % changed": None}


@dataclass(frozen=True)
class Shell:
    """An sshd of somebody who has rsync pushed into a directory and thinks no more of it."""

    place: Path
    port: int
    sshd: int
    tree: Path
    options: tuple[str, ...] = ()

    @property
    def store(self) -> Path:
        return self.place / "-".join(("plain", *self.options))

    @property
    def ssh(self) -> str:
        """What goes there, as a word for a shell; the host's name is still to be said."""
        words = ["ssh", "-F", "none", "-l", "root", "-p", str(self.port), "-i", str(self.place / "key")]
        known = ("BatchMode=yes", f"UserKnownHostsFile={self.place / 'known_hosts'}", *ciphers.options())
        return shlex.join([*words, *(word for option in known for word in ("-o", option))])

    def forget(self) -> None:
        forget(self.store, self.place)

    def push(self) -> bytes:
        argv = ["rsync", "-aHAXS", "--numeric-ids", "--delete", "--stats", "--no-human-readable", "-e", self.ssh]
        to = f"127.0.0.1:{self.store}/"
        return subprocess.run([*argv, *self.options, f"{self.tree}/", to], check=True, capture_output=True).stdout


@contextmanager
def a_shell(place: Path, tree: Path) -> Iterator[Shell]:
    port = a_free_port()
    host_key = a_key(place / "host-key").with_suffix(".pub").read_text()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (place / "authorized").write_text(a_key(place / "key").with_suffix(".pub").read_text())
    settings = (
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {place}/host-key",
        f"AuthorizedKeysFile {place}/authorized",
        "PermitRootLogin prohibit-password",
        "UsePAM no",
        "StrictModes no",
        "PidFile none",
        "Subsystem sftp internal-sftp",
    )
    (place / "config").write_text("\n".join(settings) + "\n")
    log = place / "log"
    with log.open("wb") as output:
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(place / "config")]
        sshd = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        wait_until(lambda: "Server listening" in log.read_text(), "sshd")
        yield Shell(place, port, sshd.pid, tree)
    finally:
        sshd.terminate()
        sshd.wait()


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    with a_copy_of(arguments) as place, an_aws() as aws, tempfile.TemporaryDirectory(prefix="ebbtide-plain-") as bare:
        receiving = a_receiver(aws, confine.SEPARATE, minutes=600)
        with (
            receiving as receiver,
            a_shell(Path(bare), place / "tree") as shell,
            counted_apart(*machine_of(receiver), shell.sshd) as far,
        ):
            compare(shell, receiver, place / "tree", place / "etc", far)
    return 0


def compare(shell: Shell, receiver: Receiver, tree: Path, etc: Path, far: Far) -> None:
    attributes = replace(shell, options=("-M--fake-super",))
    walled, agent = Plain(receiver, tree), ByIndex(receiver, tree, etc)
    ways = (shell, attributes, walled, agent)
    for plain in (shell, attributes):
        plain.store.mkdir()
    print(f"{size_of(tree)}; medians of {FULL_ROUNDS} rounds in full, then of {ROUNDS}\n")
    print(
        "| wall s / CPU s / wire MiB | plain | attributes | wall | CPU | walls | wall | CPU | the agent | wall | CPU |"
    )
    print(f"|{' --- |' * 11}")

    def forget_all(_: int) -> None:
        for way in ways:
            way.forget()

    def show(what: str, many: int, edit: Callable[[int], None]) -> None:
        row(what, *medians(many, far, [way.push for way in ways], edit))

    show("first push, in full", FULL_ROUNDS, forget_all)
    show("nothing changed", ROUNDS, lambda _: None)
    show("1 % changed", ROUNDS, lambda seed: change(tree, seed))


def row(what: str, plain: Cost, attributes: Cost, walled: Cost, agent: Cost) -> None:
    cells = [what, str(plain)]
    for cost in (attributes, walled, agent):
        cells += [str(cost), f"{cost.wall / plain.wall:.2f}", f"{cost.processor / plain.processor:.2f}"]
    print(f"| {' | '.join(cells)} |", flush=True)
    if (goal := GOALS[what]) and walled.wall / plain.wall > goal:
        print(f"the goal for the walls is {goal}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
