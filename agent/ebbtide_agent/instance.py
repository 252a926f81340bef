"""What a machine is for: `instance.json`, written by its user data, read by the receiver and the restore half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.shapes import decode, field

RECOVERY = "recovery"

# The control plane briefs a recovery's machine, and attaches anybody's volume, after the launch: at the next tick, if
# it is interrupted in between. EC2 takes its time, too.
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Instance:
    """One machine of one run (role "receiver") or one recovery (role "recovery"); `brief` is a key of the archive.

    `nonce` stands in the keys of what it says of its run; empty where the control plane of an earlier version launched
    it, and for a recovery.
    """

    role: str
    id: str
    attempt: int
    bucket: str
    region: str
    brief: str
    nonce: str = ""


def parse_instance(body: bytes) -> Instance:
    """Raises PermanentError when a field is missing."""
    what = "instance.json"
    values = decode(what, body)
    texts = {name: field(what, values, name, str) for name in ("role", "id", "bucket", "region", "brief")}
    nonce = field(what, {"nonce": "", **values}, "nonce", str)
    return Instance(attempt=field(what, values, "attempt", int), nonce=nonce, **texts)


def machine_at(environment: Mapping[str, str]) -> MachinePaths:
    """Where this machine's files are: below another root than / for whoever is not root."""
    return MachinePaths(Path(environment.get("EBBTIDE_ROOT") or "/"))


def read_instance(paths: MachinePaths) -> Instance:
    """Raises PermanentError on a machine that nobody has started for us."""
    try:
        return parse_instance(paths.instance.read_bytes())
    except FileNotFoundError:
        raise PermanentError(f"{paths.instance} does not exist: this machine is nobody's") from None


def cloud_of(instance: Instance) -> Cloud:
    return Cloud(instance.bucket, instance.region)
