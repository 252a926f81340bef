"""What keeps each host to the quota that the policy gives it: what the volume's file system and the kernel can.

Where they cannot, the night goes on without: a backup is better than none, and every report says that nothing holds.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, TypeVar

from ebbtide_agent import volume
from ebbtide_agent.errors import AgentError, PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver import projects, subvolumes
from ebbtide_agent.receiver.brief import BriefedHost
from ebbtide_agent.receiver.places import make_directory
from ebbtide_agent.report import Quota
from ebbtide_agent.shapes import decode, encode, field

_Recorded = TypeVar("_Recorded")

# A third of the time that a receiver has until it must be ready. What is not counted by then is on another night.
MARKING_SECONDS = 300.0
PROJECTS, SUBVOLUMES, NOTHING = "projects", "subvolumes", "nothing"
_NOT_OURS = "whoever owns the volume keeps no host to a quota"


@dataclass(frozen=True)
class Quotas:
    """By what hosts are kept to their quotas; or why they are not, each of them or one by its id.

    `unreserved` says why nothing could be put by for what is recorded, which takes no host its quota.
    """

    kind: str = NOTHING
    why: str = _NOT_OURS
    unheld: tuple[tuple[str, str], ...] = ()
    unreserved: str = ""

    @property
    def make_tree(self) -> Callable[[Path], None]:
        return subvolumes.make if self.kind == SUBVOLUMES else make_directory

    def of(self, host: BriefedHost, tree: Path) -> Quota | None:
        """What a host may hold, and holds; None when neither is known."""
        why, held = self.why or dict(self.unheld).get(host.id, ""), None
        try:
            held = self._held(host, tree) if not why else None
        except (AgentError, OSError) as error:
            why = f"what it holds cannot be told: {error}"
        return None if host.quota is None and held is None else Quota(host.quota, held, why)

    def left(self, place: Path) -> int | None:
        """The bytes that all hosts together may still bring, where that is less than what is free and can be told."""
        try:
            return subvolumes.left(place) if self.kind == SUBVOLUMES else None
        except AgentError:
            return None

    def with_room(self, place: Path, record: Callable[[], _Recorded]) -> _Recorded:
        """Record something on a volume; should that be full once more, with what was put by for that."""
        try:
            return record()
        except OSError as error:
            if error.errno != errno.ENOSPC or self.kind != SUBVOLUMES:
                raise
        subvolumes.give_the_reserve(place)
        return record()

    def keep(self, host: BriefedHost, tree: Path, until: float) -> None:
        """Keep a host to its quota from now on.

        Raises PermanentError, or TransientError when that is not done `until` then, by the monotonic clock.
        """
        if self.kind == SUBVOLUMES:
            subvolumes.limit(tree, host.quota)
        elif self.kind == PROJECTS:
            projects.mark(tree, host.uid, until)
            projects.limit(tree, host.uid, host.quota)

    def _held(self, host: BriefedHost, tree: Path) -> int | None:
        if self.kind == SUBVOLUMES:
            return subvolumes.used(tree)
        return projects.used(tree, host.uid) if self.kind == PROJECTS else None


def attach(device: Path, place: Path, filesystem: str, hosts: Iterable[BriefedHost]) -> Quotas:
    """Have a device that is ready in its place, and what can keep these hosts to their quotas.

    It has to be known for ours: what counts what they hold changes it for good.
    """
    if filesystem == volume.EXT4 and any(host.quota for host in hosts):
        return _attach_with_projects(device, place)
    volume.attach(device, place, filesystem)
    if filesystem == volume.BTRFS:
        return _with_subvolumes(place)
    return Quotas(why="" if filesystem else "the volume is a directory")


def keep_all(quotas: Quotas, paths: GatePaths, hosts: Iterable[BriefedHost]) -> Quotas:
    """Keep every host to its quota that can be, and write down for the gate what came of it.

    They leave a reserve for what is to be recorded: on ext4 the blocks that are root's.
    """
    if quotas.kind == SUBVOLUMES:
        try:
            subvolumes.keep_a_reserve(paths.volume)
        except (AgentError, OSError) as error:
            quotas = replace(quotas, unreserved=str(error))
    unheld, until = [], time.monotonic() + MARKING_SECONDS
    for host in hosts:
        try:
            quotas.keep(host, paths.tree(host.id), until)
        except (AgentError, OSError) as error:
            unheld.append((host.id, str(error)))
    kept = replace(quotas, unheld=tuple(unheld))
    write_whole(paths.quotas, encode({"kind": kept.kind, "why": kept.why, "unheld": dict(unheld)}))
    return kept


def find_quotas(paths: GatePaths) -> Quotas:
    """As they were written down; a gate without quotas has nothing to read."""
    what = str(paths.quotas)
    try:
        values = decode(what, paths.quotas.read_bytes())
    except FileNotFoundError:
        return Quotas()
    unheld = field(what, values, "unheld", dict)
    return Quotas(field(what, values, "kind", str), field(what, values, "why", str), tuple(unheld.items()))


def sentences(quotas: Quotas, hosts: Iterable[BriefedHost]) -> Iterable[str]:
    """What the receiver's log says of them, if any host has one."""
    wanting = [host for host in hosts if host.quota is not None]
    held = [host for host in wanting if host.id not in dict(quotas.unheld)]
    if quotas.why and (wanting or quotas.kind == SUBVOLUMES):
        yield f"no quota holds tonight: {quotas.why}"
    elif held:
        yield f"{len(held)} hosts are kept to their quotas by {_BY[quotas.kind]}"
    if quotas.unreserved:
        yield f"nothing is put by for what is recorded, should the volume be full: {quotas.unreserved}"
    for host_id, why in quotas.unheld:
        yield f"the quota of host {host_id} does not hold tonight: {why}"


_BY = {PROJECTS: "ext4's project quotas", SUBVOLUMES: "btrfs' simple quotas", NOTHING: "nothing"}


def _with_subvolumes(place: Path) -> Quotas:
    try:
        why = subvolumes.enable(place)
    except AgentError as error:
        why = str(error)
    return Quotas(why=why) if why else Quotas(SUBVOLUMES, "")


def _attach_with_projects(device: Path, place: Path) -> Quotas:
    why = _find_why_uncounted(device, place)
    if why:
        # Not each night: it reads every inode there is, also of one that counts already.
        why = projects.enable(device) or _find_why_uncounted(device, place)
    if not why:
        return Quotas(PROJECTS, "")
    try:
        volume.attach(device, place, volume.EXT4)
    except PermanentError:
        # One without quotas mounts nothing that has them, asked for or not.
        projects.disable(device)
        volume.attach(device, place, volume.EXT4)
    return Quotas(why=why)


def _find_why_uncounted(device: Path, place: Path) -> str | None:
    """None once it is in its place and counts by project."""
    try:
        volume.attach(device, place, volume.EXT4, projects.OPTION)
    except PermanentError as error:
        return f"this kernel does not mount ext4 with quotas: {error}"
    return None
