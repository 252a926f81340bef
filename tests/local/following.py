"""Somebody who follows docs/restore.md from top to bottom with nothing else open, in a sandbox that has had two nights:
its own commands, in its order, filled in with what was printed before."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.local.page import PAGE, Command, inline_commands, its_commands

CHANGES_EVERY_NIGHT = "var/backups/state-of-the-day"
LONGEST_SECONDS = 240
_POINT, _ADDRESS, _ID = "2026-11-21T02:12:28Z", "203.0.113.9", "us0a/2026-11-23/1"  # as the page shows them
_IN_AN_IMAGE = "is for root of a restored server, where its sshd lets in; the sandbox's servers have none"
_OWN_VOLUME = "no host of a sandbox has a volume of its own, and none is there to attach one to"
NOT_FOLLOWED = {
    "ebbtide find /etc/fstab --host web1": _OWN_VOLUME,
    "VOLUME=$(aws ec2 create-volume": _OWN_VOLUME,
    "aws ec2 wait volume-available": _OWN_VOLUME,
    "aws ec2 attach-volume": _OWN_VOLUME,
    "aws ec2 detach-volume": _OWN_VOLUME,
    "aws ec2 delete-volume": _OWN_VOLUME,
    "mkdir -p /mnt/past": _OWN_VOLUME,
    "cp -a /mnt/past": _OWN_VOLUME,
    "umount /mnt/past": _OWN_VOLUME,
    "ssh -o HostKeyAlias": "the sandbox's servers have no sshd; test_restored_server.py logs in to one that has",
    "mkdir -p /etc/systemd/system.control": _IN_AN_IMAGE,
    "systemctl daemon-reload": _IN_AN_IMAGE,
    "service cron start": _IN_AN_IMAGE,
    "touch /etc/ebbtide-mail-leaves": _IN_AN_IMAGE,
    "mkdir -p -m 755 /etc/ebbtide-user-timers": _IN_AN_IMAGE,
    "systemctl --user start": _IN_AN_IMAGE,
}
ELSEWHERE = {"When the region is gone": "test_second_region.py follows this section"}
AT_LAST = ("ebbtide card --to card.pdf", f"ebbtide close {_ID}")


@dataclass(frozen=True)
class File:
    """All that the page promises of one that comes back."""

    content: bytes
    owner: tuple[int, int]
    mode: int
    changed: int


def seen(path: Path) -> File:
    status = path.stat()
    return File(path.read_bytes(), (status.st_uid, status.st_gid), status.st_mode, status.st_mtime_ns)


@dataclass
class Reader:
    """`then` is the file as it was in the first night; `known` what stands on the page, and what it is here.

    Whoever it is has a copy of the repository, and a home with a key.
    """

    repository: Path
    state: Path
    home: Path
    then: File
    known: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known["/srv/invoice.txt"] = f"/{CHANGES_EVERY_NIGHT}"
        self.known[" invoice.txt"] = f" {Path(CHANGES_EVERY_NIGHT).name}"

    def sandbox(self, *words: str) -> str:
        command = [self.repository / "ebbtide", "sandbox", "--state", self.state, *words]
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        ran = subprocess.run(
            command, cwd=self.home, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, (words, ran.stdout)
        return ran.stdout

    def runs(self, text: str, whom: str = "operator") -> str:
        """What it says, as it stands on the page; a host's files lie below its tree."""
        below = f"{self.state}/full/trees/us0"
        filled = text if whom == "operator" else text.replace(" /", f" {below}/")
        for shown, here in self.known.items():
            filled = filled.replace(shown, here)
        return self.sandbox("shell", *(("--on", "us0") if whom == "host" else ()), "sh", "-c", filled)


def follow(reader: Reader) -> None:
    """Raises AssertionError for a command that is not known here, and for a promise that was not kept."""
    left_out, followed = set(), set()
    for command in its_commands():
        if command.section in ELSEWHERE:
            left_out.add(command.section)
        elif beginning := _beginning_of(command, NOT_FOLLOWED):
            left_out.add(beginning)
        else:
            beginning = _beginning_of(command, PROMISED)
            assert beginning, f"nobody knows how to follow {command.text!r} of {command.section!r}"
            followed.add(beginning)
            PROMISED[beginning](reader, reader.runs(command.text, command.whom))
    assert (left_out, followed) == ({*NOT_FOLLOWED, *ELSEWHERE}, {*PROMISED}), "the page has these no more"
    assert {*AT_LAST} <= {*inline_commands()}
    for text in AT_LAST:
        reader.runs(text)
    assert reader.runs("ebbtide close") == "nothing stands open or restored\n"
    assert (reader.home / "card.pdf").read_bytes().startswith(b"%PDF")


def _beginning_of(command: Command, known: dict[str, str] | dict[str, Callable[[Reader, str], None]]) -> str | None:
    return max((each for each in known if command.text.startswith(each)), key=len, default=None)


# -- what the page promises of each ------------------------------------------------------------------------------------


def _versions_are_found(reader: Reader, said: str) -> None:
    heading, *lines = said.splitlines()
    shown = re.search(r"^host  mode .*", PAGE, re.MULTILINE)
    assert shown and heading.split() == shown[0].split()
    assert [line.split()[-1] for line in lines] == [f"/{CHANGES_EVERY_NIGHT}"] * 2, said
    _, last = re.findall(r"[0-9-]{10}T[0-9:]{8}Z", lines[-1])
    reader.known[_POINT] = last


def _it_is_open(reader: Reader, said: str) -> None:
    assert "open, read-only, until " in said, said
    reader.known[_ADDRESS] = _found(r"ebbtide-agent restore /etc/fstab --from (\S+)", said)


def _the_file_is_back_on_its_server(reader: Reader, said: str) -> None:
    (directory,) = reader.home.glob("restored-us0-*.1")
    assert seen(directory / CHANGES_EVERY_NIGHT) == reader.then, said


def _it_is_closed(_: Reader, said: str) -> None:
    assert said.endswith("closed: its machine and its volume are gone\n"), said


def _the_file_is_here(reader: Reader, said: str) -> None:
    assert said.endswith(f"invoice-of-the-21st.txt: {len(reader.then.content)} B, as backed up\n"), said
    assert seen(reader.home / "invoice-of-the-21st.txt") == reader.then


def _the_server_answers(reader: Reader, said: str) -> None:
    assert "us0 is restored (proven)" in said, said
    reader.known[_ADDRESS] = _found(r"log in at ([0-9.]+)", said)
    reader.known[_ID] = _found(r"restoring (\S+):", said)
    assert reader.runs(f"curl -s http://{reader.known[_ADDRESS]}/") == "<h1>us0 is up</h1>\n"


def _it_is_listed(reader: Reader, said: str) -> None:
    (row,) = (line for line in said.splitlines() if line.startswith(reader.known[_ID]))
    assert [cell in row for cell in (" restore ", reader.known[_ADDRESS], " proven ")] == [True] * 3, said


def _the_function_knows_it(reader: Reader, said: str) -> None:
    answer = json.loads((reader.home / "answer.json").read_text())
    assert answer["recovery"] == reader.known[_ID], said


def _the_function_says_where(reader: Reader, said: str) -> None:
    (waiting,) = json.loads((reader.home / "answer.json").read_text())["waiting"]
    assert f"log in at {reader.known[_ADDRESS]}, " in waiting, said


def _each_was_proved(_: Reader, said: str) -> None:
    heading, *hosts = said.splitlines()
    assert "verdict" in heading
    assert [(line.split()[0], " proven " in line) for line in hosts] == [("eu0", True), ("us0", True)], said


def _it_is_proved(_: Reader, said: str) -> None:
    shown = re.findall(r"^  (RTO|RPO|steps) ", PAGE, re.MULTILINE)
    assert ": proven\n" in said, said
    assert re.findall(r"^  (RTO|RPO|steps) ", said, re.MULTILINE) == [*dict.fromkeys(shown)]


def _found(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    assert found, said
    return found[1]


PROMISED: dict[str, Callable[[Reader, str], None]] = {
    "ebbtide find": _versions_are_found,
    "ebbtide open": _it_is_open,
    "ebbtide-agent restore": _the_file_is_back_on_its_server,
    "ebbtide close us0": _it_is_closed,
    "ebbtide get": _the_file_is_here,
    "ebbtide restore": _the_server_answers,
    "ebbtide close": _it_is_listed,
    """echo '{"schema": 1, "host": "us0",""": _the_function_knows_it,
    """echo '{"schema": 1, "recovery":""": _the_function_says_where,
    "ebbtide drills": _each_was_proved,
    "ebbtide drill us0": _it_is_proved,
}
