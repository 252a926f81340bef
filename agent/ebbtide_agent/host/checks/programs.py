"""The programs of other people that a night needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ebbtide_agent import procs
from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok
from ebbtide_agent.host.target import BY_SSH

OLDEST_RSYNC = (3, 2, 0)
# What a whole system cannot be kept without.
_ABILITIES = ("hardlinks", "symlinks", "ACLs", "xattrs")


def are_new_enough(scene: Scene) -> Iterator[Finding]:
    yield _rsync(scene.config.rsync)
    if not isinstance(scene.config.target, BY_SSH):
        return
    ended = procs.run(("ssh", "-V"))
    if ended.exit_code == 0:
        yield ok(f"ssh: {ended.why}")
    else:
        yield fault(f"ssh: {ended.why}", "install OpenSSH's client (apt install openssh-client)")


def _rsync(program: str) -> Finding:
    ended = procs.run((program, "--version"))
    if ended.exit_code != 0:
        return fault(f"RSYNC {program}: {ended.why}", "install rsync (apt install rsync)")
    said = ended.out.decode("ascii", "replace")
    found = re.match(r"rsync\s+version\s+v?(\d+)\.(\d+)\.(\d+)", said)
    oldest = ".".join(map(str, OLDEST_RSYNC))
    if not found or tuple(map(int, found.groups())) < OLDEST_RSYNC:
        return fault(
            f"RSYNC {program} is {said.splitlines()[0] if said else 'silent'}", f"install rsync {oldest} or newer"
        )
    lacking = [ability for ability in _ABILITIES if re.search(rf"\bno {ability}\b", said)]
    if lacking:
        return fault(f"RSYNC {program} was built without {', '.join(lacking)}", "install the distribution's rsync")
    return ok(f"rsync {'.'.join(found.groups())}")
