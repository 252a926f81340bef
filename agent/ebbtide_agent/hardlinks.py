"""Which names are one file, as a digest: a host and its receiver compare their trees' hard links by it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def digest_of(groups: Iterable[Iterable[bytes]]) -> str:
    """The digest of groups of names, each of at least two, whatever their order."""
    digest = hashlib.sha256()
    for group in sorted(sorted(names) for names in groups):
        # A path holds no NUL, and none is empty.
        digest.update(b"\0".join((*group, b"", b"")))
    return digest.hexdigest()
