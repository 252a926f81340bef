"""What the next nights are compared with: the manifest of the last complete night that is on record, and no other.

Until a night is on record its manifest lies beside that one: whoever is killed before, and pushes once more, is
compared with what was there before.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ebbtide_agent.entry import Header
from ebbtide_agent.errors import AgentError
from ebbtide_agent.files import sync_directory
from ebbtide_agent.manifest_file import DAMAGE, read_manifest, sha256_of
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver.archive import Archive
from ebbtide_agent.report import Report, parse_report, report_key


def keep_manifest(paths: GatePaths, host_id: str, recorded: Report) -> None:
    """Compare the next nights with one that is on record, if it was complete. Once more is success. Raises OSError."""
    next_one = paths.next_manifest(host_id)
    landed = recorded.receiver.manifest if recorded.receiver else None
    if landed and next_one.exists() and sha256_of(next_one) == landed.sha256:
        next_one.replace(paths.manifest(host_id))
        sync_directory(paths.host(host_id))


def keep_what_waits(paths: GatePaths, host_id: str, archive: Archive) -> None:
    """The same of a night, this one or an earlier one, whose machine was lost right after it had recorded it.

    The manifest that waits says of which night it is, and only if that is on record with this manifest it is taken.
    Raises AgentError when the archive cannot be asked.
    """
    header = _find_header(paths.next_manifest(host_id))
    if header is None:
        return
    try:
        body = archive.get(report_key(header.run, header.nonce, host_id))
    except KeyError:
        return
    with suppress(AgentError, OSError):
        keep_manifest(paths, host_id, parse_report(body))


def _find_header(manifest: Path) -> Header | None:
    """None also of one that is damaged: nobody can tell what it belongs to."""
    with suppress(*DAMAGE), manifest.open("rb") as file:
        return read_manifest(file)[0]
    return None
