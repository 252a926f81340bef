"""What ssh needs of this host's own before it can get anywhere: a private key that it takes without a question."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ebbtide_agent import procs

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

# What is wrong, and what to do about it.
Problem = tuple[str, str]


def find_obstacle(key: Path) -> Problem | None:
    """Why ssh cannot use a private key, however often it is tried; None if nothing shows."""
    try:
        found = key.stat()
        if not stat.S_ISREG(found.st_mode):
            return f"KEY {key} is no file", "let KEY name a private key"
        text = key.read_bytes()
    except FileNotFoundError as error:
        return f"KEY {key}: {error.strerror}", "ebbtide-agent install makes it, and prints what to tell the far side"
    except OSError as error:
        return f"KEY {key}: {error.strerror}", "run as whoever may read it"
    # Of a key that is somebody else's ssh does not mind that.
    if found.st_uid == os.geteuid() and (is_open := find_opening(key, found)):
        return is_open
    ended = procs.run(("ssh-keygen", "-y", "-P", "", "-f", str(key)))
    if ended.exit_code == 0:
        return None
    of_windows = f"sed -i 's/\\r$//' {key}, since its lines end as on Windows"
    locked = f"ssh-keygen -p -N '' -f {key}, if it has a passphrase"
    what = f"KEY {key} is no private key that can be used unattended: {ended.why}"
    return what, of_windows if b"\r\n" in text else locked


def find_opening(key: Path, found: os.stat_result) -> Problem | None:
    if not found.st_mode & _OTHERS:
        return None
    return f"KEY {key} is open to others ({stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {key}"
