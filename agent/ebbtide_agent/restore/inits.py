"""What starts an image, and what it is told so that it comes up as a clone; nothing in its tree is changed.

systemd takes what it shall not start from its command line, as it would from a kernel's. sysvinit takes nothing: it
finds that in a layer over its tree. What has neither is started by the commands that the policy has for its host. For
each of them that layer has the clone's name, and no disks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ebbtide_agent.restore.compare import shown
from ebbtide_agent.restore.layer import is_file, is_within, layer_of
from ebbtide_agent.restore.masked import masked, scripts
from ebbtide_agent.restore.units import before_all, left_out, over_users

SYSTEMD, SYSVINIT, ANOTHER = "systemd", "sysvinit", "another"
INITS = ("usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init")
*_SYSTEMDS, _INIT = INITS
# What fstab names are disks that are not here, and other servers' file systems, which are theirs to write to.
_NO_FSTAB = b"# Nothing is mounted in a restored server.\n"
# One that starts what the links of a runlevel lead to. OpenRC may be called like this too, and has lists of its own.
_GOES_BY_LINKS = re.compile(rb"^\w+:\d*:wait:/etc/init\.d/rc [0-6]", re.MULTILINE)
_LISTS = "etc/runlevels"
_STARTING = re.compile(r"S\d\d(?P<script>.+?)(\.sh)?")
_RUNLEVELS = tuple(f"etc/rc{level}.d" for level in "S0123456")
_MOST_BYTES = 1 << 20
# Of what an image says on its console: more than the last line, and a mark that has come in two parts.
_REMEMBERED = 1 << 13

# Beside an init of nspawn's that only reaps. A command that fails keeps no other from its turn.
_ONE_AFTER_THE_OTHER = """
mark=$1
shift
for command; do
    /bin/sh -c "$command" </dev/null
    echo "$mark $?"
done
while :; do sleep 86400; done
"""


@dataclass(frozen=True)
class Start:
    """How an image is started: the words that nspawn is given, and what lies over the tree (a tar).

    An image whose `steps` are known says after each of them, on its console, its `mark` and an exit code. One that has
    none says READY=1.
    """

    options: tuple[str, ...]
    arguments: tuple[str, ...]
    mark: str
    steps: tuple[str, ...] = ()
    layer: bytes = layer_of(Path(), {})


class Course:
    """How far an image has come, by what it says on its console. However much that is, only its end is remembered."""

    def __init__(self, start: Start) -> None:
        self.steps = start.steps
        # An exit code has three digits at most; what looks otherwise the image has made up.
        self._mark = re.compile(rb"%b (\d{1,3})\r?\n" % re.escape(start.mark.encode()))
        self._ended: tuple[tuple[str, int], ...] = ()
        self._said = b""

    def hear(self, said: bytes) -> None:
        """What it says next. Marks beyond that of the last step mean nothing."""
        before, *ended = self._mark.split(self._said + said)
        for code, after in zip(ended[::2], ended[1::2]):
            self._ended = (*self._ended, (last_words(before), int(code)))[: len(self.steps)]
            before = after
        self._said = before[-_REMEMBERED:]

    def is_done(self) -> bool:
        """Whether every step has come to its end, well or not."""
        return len(self._ended) == len(self.steps)

    def failures(self) -> tuple[str, ...]:
        """Each step that has ended badly, and what was said last before it did."""
        return tuple(
            f"`{step}` ended with exit code {code}: {words}"
            for step, (words, code) in zip(self.steps, self._ended)
            if code != 0
        )

    def last_words(self) -> str:
        """Of the step that has not come to its end, or of an init."""
        under_way = self.steps[len(self._ended) :][:1]
        return "".join(f"`{step}` has not come to its end: " for step in under_way) + last_words(self._said)


def init_of(tree: Path) -> str | None:
    """SYSTEMD, SYSVINIT, ANOTHER; None when there is none at all."""
    if is_file(tree / _INIT) and _GOES_BY_LINKS.search(_inittab(tree)) and not os.path.lexists(tree / _LISTS):
        return SYSVINIT
    if any(os.path.lexists(tree / each) for each in _SYSTEMDS):
        return SYSTEMD
    return ANOTHER if os.path.lexists(tree / _INIT) else None


def is_to_start(tree: Path, commands: Sequence[str]) -> bool:
    """Whether this is a server. Other trees are data, of which nobody expects that they start."""
    return bool(commands) or init_of(tree) is not None


def why_not_started(tree: Path, commands: Sequence[str]) -> str | None:
    """Why there is nothing that would start this image; None when there is."""
    init = init_of(tree)
    if commands or init in (SYSTEMD, SYSVINIT):
        return None
    found = "its init is neither systemd nor sysvinit" if init else "the image has no init"
    return f"{found}, and the policy has no `start` for its host"


def start_of(tree: Path, name: str, stands: bool, commands: Sequence[str], mark: str) -> Start:
    """What starts this image under this name. `commands` are for one that has neither systemd nor sysvinit."""
    init, over = init_of(tree), dict(_over(tree, name))
    if init == SYSTEMD:
        units = (*masked(stands), *left_out(tree))
        told = (f"systemd.hostname={name}", *(f"systemd.mask={unit}" for unit in units))
        over.update(dict.fromkeys(before_all(tree, units)))
        over.update(over_users(tree))
        return Start(("--boot", "--console=pipe"), told, mark, layer=layer_of(tree, over))
    if init == SYSVINIT:
        over.update(_over_sysvinit(tree, scripts(masked(stands)), mark))
        return Start(("--boot", "--console=read-only"), (), mark, ("/etc/init.d/rc",), layer_of(tree, over))
    one_after_the_other = ("/bin/sh", "-c", _ONE_AFTER_THE_OTHER, "start", mark, *commands)
    return Start(("--as-pid2", "--console=pipe"), one_after_the_other, mark, tuple(commands), layer_of(tree, over))


def _over(tree: Path, name: str) -> Iterator[tuple[str, bytes | None]]:
    """Paths, and what is there in place of what was; None for nothing."""
    if is_within(tree, "etc"):
        yield "etc/hostname", f"{name}\n".encode()
        yield "etc/fstab", _NO_FSTAB


def _over_sysvinit(tree: Path, unwanted: frozenset[str], mark: str) -> Iterator[tuple[str, bytes | None]]:
    """What it finds changed beside that."""
    yield "etc/inittab", b"%b\neb:12345:once:/bin/echo %b 0 >/dev/console\n" % (_inittab(tree), mark.encode())
    for runlevel in filter(lambda each: is_within(tree, each), _RUNLEVELS):
        for link in sorted((tree / runlevel).iterdir()):
            starting = _STARTING.fullmatch(link.name)
            if starting and starting["script"] in unwanted:
                yield f"{runlevel}/{link.name}", None
    for systemd in map(PurePosixPath, _SYSTEMDS):  # that nspawn would take for the image's init
        if os.path.lexists(tree / systemd) and is_within(tree, systemd.parent):
            yield str(systemd), None


def _inittab(tree: Path) -> bytes:
    where = tree / "etc/inittab"
    if not (is_within(tree, "etc") and is_file(where)):
        return b""
    with where.open("rb") as file:
        return file.read(_MOST_BYTES)


def last_words(console: bytes) -> str:
    """The last line that says something, made fit to be shown."""
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    return shown(lines[-1]) if lines else "it said nothing"
