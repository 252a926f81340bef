"""What a tar in pax form says of an entry beyond what every tar does, as GNU tar writes it and reads it back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal


class Keyword(str):
    """One of a pax header, of whatever bytes an attribute's name is: tarfile would have it be UTF-8."""

    @classmethod
    def of(cls, attribute: str) -> Keyword:
        """What comes after the first `=` would be the value."""
        return cls("SCHILY.xattr." + attribute.replace("%", "%25").replace("=", "%3D"))

    # By this method tarfile asks a keyword for its bytes, strictly as UTF-8. That it does is promised nowhere.
    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return super().encode(encoding, errors)


def pax_headers(mtime_ns: int, xattrs: Mapping[str, bytes]) -> dict[str, str]:
    """A time to the nanosecond, and extended attributes, ACLs among them in the kernel's form."""
    headers = {"mtime": f"{Decimal(mtime_ns) / 10**9:f}"}
    headers.update((Keyword.of(name), os.fsdecode(value)) for name, value in xattrs.items())
    return headers
