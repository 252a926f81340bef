"""Events on their way out of a receiver: its gates leave them here for its main process, so that no host waits.

What is still here when the machine goes is lost without harm: the archive is the truth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ebbtide_agent import letters
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.files import write_whole
from ebbtide_agent.shapes import decode, encode, field

_WHAT = "a letter of the outbox"


@dataclass(frozen=True)
class Mail:
    """The outbox. An event that is left again is sent once all the same: a host may report as often as it likes."""

    path: Path

    def leave(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        self.path.mkdir(mode=0o700, exist_ok=True)
        body = encode({"source": source, "type": detail_type, "detail": dict(detail)})
        name = sha256(body).hexdigest()
        if not self._sent(name).exists() and not any(_name_of(letter) == name for letter in letters.waiting(self.path)):
            write_whole(self.path / f"{time.time_ns():020}-{name}", body)

    def send(self, cloud: Cloud) -> None:
        """All of them, in their order. Raises AgentError at the first that does not get through: it stays."""
        for letter in letters.waiting(self.path):
            values = decode(_WHAT, letter.read_bytes())
            source, detail_type = field(_WHAT, values, "source", str), field(_WHAT, values, "type", str)
            cloud.send_event(source, detail_type, field(_WHAT, values, "detail", dict))
            letter.replace(self._sent(_name_of(letter)))

    def _sent(self, name: str) -> Path:
        """Where a letter stays, beside those that wait, so that the same one is known when it comes again."""
        return self.path / f".sent-{name}"


def _name_of(letter: Path) -> str:
    """Behind the moment at which it was left."""
    return letter.name.partition("-")[2]


@dataclass(frozen=True)
class Mailing:
    """The archive as a receiver's gates use it: what is sent is left for the main process."""

    cloud: Cloud
    mail: Mail

    def get(self, key: str) -> bytes:
        return self.cloud.get(key)

    def put_once(self, key: str, body: bytes | Path) -> bool:
        return self.cloud.put_once(key, body)

    def digest(self, key: str) -> str:
        return self.cloud.digest(key)

    def send_event(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        self.mail.leave(source, detail_type, detail)
