"""The user id that a guest's tree belongs to; its group has the same number. Both are nobody's on this machine."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ebbtide_agent.errors import PermanentError

# Above what systemd gives to services and containers (https://systemd.io/UIDS-GIDS) and SSSD to the users of a domain;
# below what systemd keeps for trees from elsewhere. From each on there is room for all ids that hosts may have.
_FIRST = (2_100_000_000, 2_120_000_000)
_SUBORDINATE = re.compile(r"[^:#]+:([0-9]+):([0-9]+)", re.ASCII)


def choose_uid(host_id: str, taken: Sequence[range]) -> int:
    """One that is nobody's, the same wherever it can be. Raises PermanentError when there is none."""
    uids = [first + int(host_id, 36) for first in _FIRST]
    for uid in uids:
        if not any(uid in each for each in taken):
            return uid
    raise PermanentError(
        f"each of the user ids {' and '.join(map(str, uids))} for {host_id} is somebody's in /etc/passwd or /etc/group,"
        " or a container's in /etc/subuid or /etc/subgid: give another --id"
    )


def find_taken(etc: Path) -> tuple[range, ...]:
    """The ids of this machine's users and groups, and those that /etc/subuid and /etc/subgid give to containers."""
    users, groups = (user.pw_uid for user in pwd.getpwall()), (group.gr_gid for group in grp.getgrall())
    return (*(range(each, each + 1) for each in (*users, *groups)), *_subordinate(etc))


def _subordinate(etc: Path) -> Iterator[range]:
    for path in (etc / "subuid", etc / "subgid"):
        for line in path.read_text().splitlines() if path.exists() else ():
            if match := _SUBORDINATE.fullmatch(line.strip()):
                first, count = map(int, match.groups())
                yield range(first, first + count)
