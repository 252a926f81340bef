"""Whether what rsync sends is compressed: across the internet it is, in a network of one's own it only costs time."""

from __future__ import annotations

import ipaddress

AUTO, ALWAYS, NEVER = "auto", "yes", "no"
CHOICES = (AUTO, ALWAYS, NEVER)


def words(choice: str, address: str) -> tuple[str, ...]:
    """What rsync is told, given what COMPRESS says and the far side's address.

    The two rsyncs agree on the best that both have: zstd, from 3.2 on.
    """
    is_wanted = choice == ALWAYS or (choice == AUTO and ipaddress.ip_address(address).is_global)
    return ("--compress",) if is_wanted else ()
