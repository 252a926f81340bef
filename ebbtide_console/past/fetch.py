"""Brings a path of an opened restore point here, as an operator, and proves it by the manifest."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from chalicelib.errors import PermanentError
from ebbtide_agent.entry import Entry, read_real
from ebbtide_agent.errors import AgentError
from ebbtide_agent.host.bring import RestoreRequest, bring
from ebbtide_agent.host.link import World, ask, route
from ebbtide_agent.host.login import Login
from ebbtide_agent.host.past import Source, check_there
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.moments import Clock
from ebbtide_agent.points import Point as Served
from ebbtide_agent.points import parse_offer
from ebbtide_agent.report import COMPLETE
from ebbtide_agent.restore.compare import compare

_ALIAS = "ebbtide-opened"
_SHOWN = 10


@dataclass(frozen=True)
class Gate:
    """An opened machine: where it is, the host key it has said in the archive, and who comes with which key."""

    address: str
    port: int
    host_key: str
    user: str
    identity: Path

    def login(self, place: Path) -> Login:
        """`place` is a directory of ours, for the pinned host key."""
        known = place / "known_hosts"
        known.write_text(f"{_ALIAS} {self.host_key}\n")
        return Login(_ALIAS, self.port, self.user, self.identity, known, elsewhere=self.address)


def served_at(login: Login) -> Served:
    """The one point that it serves. Raises PermanentError when it does not answer, or says no."""
    try:
        return parse_offer(ask(login, "list")).points[0]
    except AgentError as error:
        needed = "your key among restore.readers, and your network among the receiver's `allow`"
        raise PermanentError(f"{error}; it takes {needed}, in the policy as it was when it was opened") from error


def fetch(login: Login, point: Served, path: bytes, into: Path, until: datetime, clock: Clock) -> Path:
    """Bring it below `into`, a directory of ours, with its whole path; where it then is. Raises PermanentError."""
    world = World(clock)
    source = Source("rsync", lambda attempt: route(login, attempt, f"::{point.name}/"), until, world)
    try:
        check_there(source, [path], point.name)
        outcome = bring(source, RestoreRequest((path,), into, os.geteuid() == 0, is_own=True), lambda _: None)
    except AgentError as error:
        raise PermanentError(str(error)) from error
    if outcome.status != COMPLETE:
        raise PermanentError("; ".join(outcome.problems) or f"rsync brought it {outcome.status}")
    if os.geteuid() != 0:
        make_readable(into)
    return into / os.fsdecode(path)


def make_readable(place: Path) -> None:
    """What nobody but root could read would be read by nobody here; the modes are known from the manifest."""
    for path in place.iterdir():
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(0o700)
            make_readable(path)
        elif path.is_file():
            path.chmod(0o600)


def mode_of(entry: Entry) -> int:
    """What a file may have as here: who is not root gives nobody their own rights."""
    return entry.mode if os.geteuid() == 0 else entry.mode & ~(stat.S_ISUID | stat.S_ISGID)


def prove(expected: Sequence[Entry], into: Path, path: bytes) -> None:
    """Compare what has come with the manifest. Raises PermanentError when anything is otherwise.

    Owners, modes, attributes and devices are compared if we are root, who alone can have given them back.
    """
    as_root = os.geteuid() == 0
    came = (
        each
        for each in read_real(into, lambda where, _: sha256_of(where))
        if each.path == path or each.path.startswith(path + b"/")
    )
    compared = compare(_comparable(expected, as_root), _comparable(came, as_root))
    if not compared.identical:
        more = f" and {len(compared.findings) - _SHOWN} more" if len(compared.findings) > _SHOWN else ""
        raise PermanentError(f"what came is not what was backed up: {'; '.join(compared.findings[:_SHOWN])}{more}")


def _comparable(entries: Iterable[Entry], as_root: bool) -> Iterator[Entry]:
    """Without which of its other names came along, and without what root alone can give back."""
    for entry in entries:
        if as_root:
            yield replace(entry, group=None)
        elif entry.kind not in "cb":
            yield replace(entry, group=None, mode=0, uid=0, gid=0, xattrs={})
