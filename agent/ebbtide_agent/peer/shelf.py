"""A peer's archive: what is written once about a host, as files beside its tree and beyond its reach."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import sync_directory, write_whole
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.report import Report, parse_report, report_key

_REPORTS = "reports"


@dataclass(frozen=True)
class Shelf:
    """The archive of one host; `told` is touched for whoever waits for reports."""

    place: Path
    told: Path

    @classmethod
    def of(cls, paths: PeerPaths, host_id: str) -> Shelf:
        return cls(paths.archive(host_id), paths.told)

    def get(self, key: str) -> bytes:
        """Raises KeyError when absent."""
        try:
            return (self.place / key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def put_once(self, key: str, body: bytes | Path) -> bool:
        """Durable when it returns. A file is linked: nobody writes into a manifest, the next one replaces it."""
        path = self.place / key
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if isinstance(body, Path):
            os.link(body, path)
        else:
            write_whole(path, body)
        self._sync_names(path)
        return True

    def _sync_names(self, path: Path) -> None:
        """The directories of a key are made with it, and this one with the first.

        Not all of the file system: what its disk has not kept is told once, and for the report of another guest.
        """
        for directory in path.parents:
            sync_directory(directory)
            if directory == self.place.parent:
                return

    def digest(self, key: str) -> str:
        try:
            return sha256_of(self.place / key)
        except FileNotFoundError:
            raise KeyError(key) from None

    def send_event(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        self.told.touch()

    def find_report(self, run: str, host_id: str) -> Report | None:
        """None also of one that cannot be read any more: it must not keep its host from the next night."""
        try:
            return parse_report(self.get(report_key(run, "", host_id)))
        except (KeyError, PermanentError):
            return None

    def runs(self) -> Iterator[str]:
        """All that have a report."""
        for path in self.place.glob(f"{_REPORTS}/*/*/*/*.json"):
            yield path.parent.relative_to(self.place / _REPORTS).as_posix()

    def keep_manifests(self, reports: Iterable[Report]) -> None:
        """Reports are small and stay; of the manifests those do that these reports name."""
        kept = {report.receiver.manifest.key for report in reports if report.receiver and report.receiver.manifest}
        for path in self.place.glob("manifests/*/*/*/*"):
            if path.relative_to(self.place).as_posix() not in kept:
                path.unlink()
