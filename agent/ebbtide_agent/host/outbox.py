"""What this host has to put into the archive itself: kept on its disk until it is there, as long as nobody answers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ebbtide_agent import disk, letters
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.own_report import EVENT, letter_of

_REPORT, _MANIFEST = "report.json", "manifest.jsonl.gz"


@dataclass(frozen=True)
class Outbox:
    """A directory with a directory for each night that is still to be sent, named by its run."""

    path: Path

    def take_manifest(self, manifest: Path) -> None:
        """Copy tonight's manifest while its volume is still there; `add` then takes it along."""
        self._making.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(manifest, self._making / _MANIFEST)

    def add(self, run: str, report: bytes) -> Path:
        """From here on tonight is told, some time. Returns its letter."""
        self._making.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._making / _REPORT, report)
        disk.check_synced(self._making)
        return self._making.rename(self.path / run.replace("/", "_"))

    def clear(self) -> None:
        """What a night has left that never came to its report goes."""
        shutil.rmtree(self._making, ignore_errors=True)

    def letters(self) -> list[Path]:
        """What is to be sent, the oldest first."""
        return letters.waiting(self.path)

    @property
    def _making(self) -> Path:
        return self.path / ".making"


def send(letter: Path, cloud: Cloud, say: Callable[[str], None]) -> None:
    """Put a night's manifest and report into the archive, send its event, and forget it. To be repeated at will.

    The event is a hint: it is lost without harm, for the archive is the truth. Raises TransientError or PermanentError.
    """
    body = (letter / _REPORT).read_bytes()
    told = letter_of(body)
    if told.manifest_key:
        cloud.put_once(told.manifest_key, letter / _MANIFEST)
    cloud.put_once(told.report_key, body)
    try:
        cloud.send_event(told.source, EVENT, told.detail)
    except AgentError as error:
        say(f"{error}; the report is in the archive, and that will do")
    shutil.rmtree(letter)
