"""Whether this host's clock is kept right: whoever keeps it tells the kernel so."""

from __future__ import annotations

import ctypes

# TIME_ERROR: nobody does.
_NOT_SYNCHRONISED = 5
# More than a struct timex takes anywhere; all of it zero it asks, and sets nothing.
_ROOM = 512


def is_kept() -> bool:
    """As chrony, ntpd and systemd-timesyncd have it said (adjtimex(2)); False also where that cannot be asked."""
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_ROOM)))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _NOT_SYNCHRONISED
