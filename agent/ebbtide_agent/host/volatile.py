"""What comes and goes by itself on a server that nobody touches: if it vanishes while it is pushed, nothing is lost.

Anything else that vanishes was somebody's, and may have been moved to where rsync had looked before: a database's file,
somebody's papers, a program that is being replaced. A mail that is read meanwhile may be, too; it comes and goes. Pure.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

# As seen from ROOT, whatever lies below; `*` stands for slashes, too.
PLACES = (
    "/run/*",
    "/var/run/*",
    "/var/lock/*",
    "/var/log/*",
    "/var/mail/*",
    "/var/vmail/*",
    "/var/spool/*",
    "/var/lib/apt/lists/*",
    "/var/lib/nginx/*",
    "/var/lib/php*/session*/*",
    "/var/lib/samba/*/msg.*/*",
    "/var/lib/systemd/coredump/*",
    "*/pgsql_tmp/*",
    "*/pg_stat_tmp/*",
)
# Directories of these names wherever they are, /tmp the first of them, with all below; but not where databases lie,
# which may be called so.
DIRECTORIES = ("tmp", ".tmp", "temp", "cache", ".cache", "caches", "sessions", "Maildir", ".maildir")
DATABASES = "/var/lib/"
# Files, or directories, by their own names: what editors, desktops and servers keep beside a file while they are at it.
NAMES = (
    "*~",
    "*.swp",
    "*.swo",
    "*.swx",
    ".#*",
    "#*#",
    "*.tmp",
    ".tmp*",
    "*.part",
    "*.crdownload",
    ".goutputstream-*",
    ".nfs*",
    ".fuse_hidden*",
    "*.lock",
    "*.lck",
    "lock",
    "*.pid",
    "*.sock",
)


def comes_and_goes(path: str) -> bool:
    """Whether a path, as seen from ROOT, is one that is gone the next moment on any day."""
    names = path.split("/")
    if any(fnmatchcase(path, place) for place in PLACES) or any(fnmatchcase(names[-1], name) for name in NAMES):
        return True
    return not path.startswith(DATABASES) and not set(DIRECTORIES).isdisjoint(names)
