"""What no attacker may change: looked at before and after each attack, and compared by name, content, owner and mode.

That is all of the receiver's machine and its volume, the archive, what was told, and places where something might be
left. Not looked at is what is in the trees of those whose keys are stolen, the lines of sshd's log, and of a session's
note how the last push ended and how long all of them took.
"""

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import sshd
from ebbtide_agent.receiver.lease import MOST_SESSIONS
from ebbtide_agent.report import manifest_key
from tests.local.receiver_machine import BUCKET, NONCE, RUN, Receiver, report_key

PLANTED = f"planted-by-us0-{os.getpid()}"
# Where an attacker might leave something, if he could; not where whoever plays the receiver may not even look.
ELSEWHERE = tuple(
    place
    for place in ("/", "/tmp", "/dev/shm", "/usr/lib", "/etc", "/root", "/var/tmp")
    if os.access(place, os.R_OK | os.X_OK)
)


@dataclass(frozen=True)
class Canaries:
    """Around a receiver. Whose keys are stolen may write into his own tree."""

    receiver: Receiver
    stolen: Collection[str]

    def look(self) -> Mapping[str, str]:
        """What there is by its name, and what would show that somebody was there. Nobody is served meanwhile whose
        session changes it."""
        return {**dict(self._files()), **dict(self._archive()), **dict(self._told()), **dict(_left_elsewhere())}

    def recorded(self, host: str) -> frozenset[str]:
        """The names of all that may change when a host's report is taken."""
        host_id, paths = self.receiver.hosts[host].id, self._paths
        home = self.receiver.tree(host).parent
        letters = [letter for letter in paths.outbox.iterdir() if f'"{host_id}"' in letter.read_text()]
        records = (home / name for name in ("manifest.jsonl.gz", "status.json"))
        files = (*records, paths.session(host_id), paths.reported(host_id), paths.outbox, *letters)
        keys = (report_key(host_id), manifest_key(host_id, RUN, NONCE))
        return frozenset([*map(self._named, files), *map(_in_archive, keys), f"told of {host_id}"])

    @cached_property
    def _paths(self) -> MachinePaths:
        return MachinePaths(self.receiver.root)

    @cached_property
    def _trees(self) -> frozenset[Path]:
        return frozenset(map(self.receiver.tree, self.stolen))

    @cached_property
    def _seats(self) -> frozenset[Path]:
        """Where a session writes down that it is there, and leaves nothing when it ends."""
        ids = [host.id for host in self.receiver.hosts.values()]
        seats = (self._paths.seat(each, number) for each in ids for number in range(MOST_SESSIONS))
        return frozenset([*map(self._paths.lease, ids), *seats])

    def _files(self) -> Iterator[tuple[str, str]]:
        for where, directories, files in os.walk(self.receiver.root.parent):
            if Path(where) in self._trees:
                directories.clear()
                continue
            for path in (Path(where) / name for name in sorted((*directories, *files))):
                if not (path in self._seats and path.stat().st_size == 0):
                    yield self._named(path), self._described(path)

    def _named(self, path: Path) -> str:
        return str(path.relative_to(self.receiver.root.parent))

    def _described(self, path: Path) -> str:
        """Not when it was, which a push that changes nothing may touch; of an attacker's own tree, whose it is."""
        found = path.lstat()
        said = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
        if path in self._trees:
            return f"{stat.S_IFMT(found.st_mode):o} {found.st_uid}:{found.st_gid}"
        if path.is_symlink():
            return f"{said} {path.readlink()}"
        if not path.is_file() or path == sshd.log_of(self._paths):
            return said
        body = _of_a_session(path.read_bytes()) if path.parent == self._paths.sessions else path.read_bytes()
        return f"{said} {found.st_nlink} {hashlib.sha256(body).hexdigest()}"

    def _archive(self) -> Iterator[tuple[str, str]]:
        for each in self.receiver.aws.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", []):
            yield _in_archive(each["Key"]), each["ETag"]

    def _told(self) -> Iterator[tuple[str, str]]:
        details = [event["detail"] for event in self.receiver.aws.events()]
        for host_id in {detail["id"] for detail in details}:
            yield f"told of {host_id}", str([detail for detail in details if detail["id"] == host_id])


def _in_archive(key: str) -> str:
    return f"archive: {key}"


def _of_a_session(note: bytes) -> bytes:
    """Without what each push says anew; of a note that is none, all."""
    try:
        said = json.loads(note)
        return json.dumps({**said, "exit_code": None, "seconds": None}).encode()
    except (ValueError, TypeError):
        return note


def _left_elsewhere() -> Iterator[tuple[str, str]]:
    for place in ELSEWHERE:
        if (Path(place) / PLANTED).exists():
            yield place, PLANTED
