"""What a machine is for: `instance.json`, written by its user data, read by the receiver and the restore half."""

from __future__ import annotations

from dataclasses import dataclass

from ebbtide_agent.shapes import decode, field


@dataclass(frozen=True)
class Instance:
    """One machine of one run (role "receiver") or one recovery (role "recovery"); `brief` is a key of the archive."""

    role: str
    id: str
    attempt: int
    bucket: str
    region: str
    brief: str


def parse_instance(body: bytes) -> Instance:
    """Raises PermanentError when a field is missing."""
    what = "instance.json"
    values = decode(what, body)
    texts = {name: field(what, values, name, str) for name in ("role", "id", "bucket", "region", "brief")}
    return Instance(attempt=field(what, values, "attempt", int), **texts)
