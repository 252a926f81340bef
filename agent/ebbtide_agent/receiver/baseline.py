"""What the next nights are compared with: the manifest of the last complete night that is on record, and no other.

Until a night is on record its manifest lies beside that one: whoever is killed before, and pushes once more, is
compared with what was there before.
"""

from __future__ import annotations

from ebbtide_agent.files import sync_directory
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.report import Report


def keep_manifest(paths: GatePaths, recorded: Report) -> None:
    """Compare the next nights with one that is on record, if it was complete. Once more is success. Raises OSError."""
    next_one = paths.next_manifest(recorded.id)
    landed = recorded.receiver.manifest if recorded.receiver else None
    if landed and next_one.exists() and sha256_of(next_one) == landed.sha256:
        next_one.replace(paths.manifest(recorded.id))
        sync_directory(paths.host(recorded.id))
