"""Where an opened machine is, as the operator tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# An IPv6 address alone, or in brackets if a port follows it; or a name, or an IPv4 address.
_ADDRESS = re.compile(
    r"(?P<bare>[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)"
    r"|(?:\[(?P<enclosed>[0-9a-f:.]+)\]|(?P<name>[a-z0-9][a-z0-9.-]*))(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Address:
    """Where an opened machine is: a name or an address, and a port if it is not the receiver's."""

    name: str
    port: int | None = None


def parse_address(text: str) -> Address:
    """`203.0.113.9`, `203.0.113.9:2222`, `[2001:db8::1]:2222`, `2001:db8::1`. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if not match or int(match["port"] or 0) > 65535:
        raise ValueError(f"{text!r} is not an address such as 203.0.113.9")
    name = match["bare"] or match["enclosed"] or match["name"]
    return Address(name, int(match["port"]) if match["port"] else None)
