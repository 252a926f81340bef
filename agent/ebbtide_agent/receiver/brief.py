"""What a receiver is told of its night: the frozen hosts, the deadline, the volume."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.shapes import decode, field, moment

WHAT = "the receiver's brief"
GIB = 1 << 30
HOST_ID = re.compile(r"[a-z0-9]{4}")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f]*)?")


@dataclass(frozen=True)
class Caller:
    """A host that may come in: its keys, and the user id its tree belongs to."""

    name: str
    id: str
    uid: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class BriefedHost(Caller):
    """One expected host, the nonce its report must bring, and whether its tree may not shrink or change at once.

    `quota` are the bytes that its tree may hold at most.
    """

    nonce: str
    guarded: bool = False
    quota: int | None = None


@dataclass(frozen=True)
class Run:
    """One night, as a gate has to know it: what it is called, who receives, and when it is over.

    `nonce` stands in the keys of what is recorded of it; empty on a peer, and in a brief of an earlier version.
    """

    run: str
    receiver: str
    deadline: datetime
    nonce: str


@dataclass(frozen=True)
class Brief(Run):
    """One night of one receiver.

    `is_distrusted`: its volume was made from a snapshot after one was found damaged, and may be damaged itself.
    """

    grace: timedelta
    volume_id: str
    filesystem: str
    host_key_parameter: str
    hosts: tuple[BriefedHost, ...]
    is_distrusted: bool = False

    def host(self, host_id: str) -> BriefedHost:
        """Raises Refused when this run does not expect such a host."""
        for host in self.hosts:
            if host.id == host_id:
                return host
        raise Refused(f"run {self.run} does not expect host {host_id}")


def parse_brief(body: bytes) -> Brief:
    """Raises PermanentError: a key or an id that is not what it should be would end up in sshd's own files."""
    values = decode(WHAT, body)
    volume = field(WHAT, values, "volume", dict)
    return Brief(
        run=field(WHAT, values, "run", str),
        receiver=field(WHAT, values, "receiver", str),
        deadline=moment(WHAT, values, "deadline"),
        nonce=field(WHAT, {"nonce": "", **values}, "nonce", str),
        grace=timedelta(minutes=field(WHAT, values, "grace_minutes", int)),
        volume_id=field(WHAT, volume, "id", str),
        filesystem=field(WHAT, volume, "filesystem", str),
        host_key_parameter=field(WHAT, values, "host_key_parameter", str),
        hosts=tuple(_host(host) for host in field(WHAT, values, "hosts", list)),
        # A brief of a version that trusted every snapshot says nothing of it.
        is_distrusted=field(WHAT, {"distrusted": False, **volume}, "distrusted", bool),
    )


def _host(values: Mapping[str, Any]) -> BriefedHost:
    host = BriefedHost(
        name=field(WHAT, values, "name", str),
        id=field(WHAT, values, "id", str),
        uid=field(WHAT, values, "uid", int),
        keys=tuple(field(WHAT, values, "keys", list)),
        nonce=field(WHAT, values, "nonce", str),
        # A brief of a version that knew no guard says nothing of it.
        guarded=field(WHAT, {"guarded": True, **values}, "guarded", bool),
        quota=_quota(values),
    )
    check_caller(WHAT, host)
    return host


def _quota(values: Mapping[str, Any]) -> int | None:
    """An older brief says nothing of it."""
    if values.get("quota_gib") is None:
        return None
    return int(field(WHAT, values, "quota_gib", (int, float)) * GIB)


def check_caller(what: str, host: Caller) -> None:
    """Raises PermanentError: a key or an id that is not what it should be would end up in sshd's own files."""
    if not HOST_ID.fullmatch(host.id):
        raise PermanentError(f"{what}: host id {host.id!r:.40} is not four of a-z, 0-9")
    if host.uid < 1000:
        raise PermanentError(f"{what}: host {host.id} has user id {host.uid}, which may be somebody of the system")
    for key in host.keys:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise PermanentError(f"{what}: host {host.id} has a key that is not a public ssh key: {key!r:.80}")
