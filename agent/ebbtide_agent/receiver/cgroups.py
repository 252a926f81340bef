"""A control group for each host's sessions: who fills the memory fills its own share of it, and ends alone; and who
takes all of the processors takes them from nobody else.

Files without a name, pipes and sockets are memory that no process has for its own; only a control group counts them
(cgroup v2, Documentation/admin-guide/cgroup-v2.rst). The hosts' groups lie below the one that systemd has handed to
our service. A group that divides its memory may hold no process itself: we move into one beside theirs, sshd with us.
"""

from __future__ import annotations

import os
from pathlib import Path

KEEPERS = "keepers"
_MEMORY, _PROCESSORS = "memory", "cpu"
# A host's have 100. Without more, hosts that come in would wait for each that is pushing already; those of a whole
# crowd must not have most of it either.
KEEPERS_WEIGHT = 1000
_MIB = 1 << 20


def divide(root: Path = Path("/")) -> str:
    """Let each host's sessions have a group of their own from now on; what the log says of it, also where none can."""
    service = _group(root)
    try:
        if why := _find_why_not(service):
            return _undivided(why)
        _divide(service)
    except OSError as error:
        return _undivided(str(error))
    share = f"a host's sessions have {_share(service, root) // _MIB} MiB of memory; if they need more, they alone end"
    return share if _has_processors(service) else f"{share}; nothing keeps them from all of the processors"


def enter(host_id: str, root: Path = Path("/")) -> None:
    """Be one of this host's sessions, where memory is divided. When they need more than they have, all of them end:
    what they hold is free only then. Swapped out it would be in everybody's way all the same."""
    ours = _group(root)
    service = ours.parent
    if ours.name != KEEPERS or _MEMORY not in _words(service / "cgroup.subtree_control"):
        return
    group = service / f"host-{host_id}"
    group.mkdir(exist_ok=True)
    (group / "memory.max").write_text(str(_share(service, root)))
    (group / "memory.oom.group").write_text("1")
    if (group / "memory.swap.max").exists():
        (group / "memory.swap.max").write_text("0")
    _join(group)


def kills(host_id: str, root: Path = Path("/")) -> int:
    """How many processes of this host's sessions the kernel has ended for want of memory, as long as there is the
    group; none where memory is not divided. A gate may ask, and who has divided it."""
    try:
        return kills_among((_group(root).parent / f"host-{host_id}/memory.events").read_text())
    except FileNotFoundError:
        return 0


def kills_among(events: str) -> int:
    """By what a group's memory.events says."""
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))


def _undivided(why: str) -> str:
    return f"nothing keeps a host's sessions from filling this machine's memory: {why}"


def _group(root: Path) -> Path:
    """The one that this process is in."""
    lines = (root / "proc/self/cgroup").read_text().splitlines() if (root / "proc/self/cgroup").exists() else []
    place = next((line[len("0::/") :] for line in lines if line.startswith("0::/")), "")
    return root / "sys/fs/cgroup" / place


def _find_why_not(service: Path) -> str | None:
    controllers = service / "cgroup.controllers"
    if not controllers.exists() or _MEMORY not in _words(controllers):
        return f"there is no memory controller of cgroup v2 in {service}"
    if _words(service / "cgroup.procs") != [str(os.getpid())]:
        return f"there are others in {service}, which a service with Delegate=memory would have for itself"
    return None


def _divide(service: Path) -> None:
    (service / KEEPERS).mkdir(exist_ok=True)
    _join(service / KEEPERS)
    if not _has_processors(service):
        (service / "cgroup.subtree_control").write_text(f"+{_MEMORY}")
        return
    (service / "cgroup.subtree_control").write_text(f"+{_MEMORY} +{_PROCESSORS}")
    (service / KEEPERS / "cpu.weight").write_text(str(KEEPERS_WEIGHT))


def _has_processors(service: Path) -> bool:
    """Whether they were handed over to be divided, too."""
    return _PROCESSORS in _words(service / "cgroup.controllers")


def _share(service: Path, root: Path) -> int:
    """How many bytes the sessions of a host may have: half of what there is for the service with all of them."""
    kib = next(line.split()[1] for line in (root / "proc/meminfo").open() if line.startswith("MemTotal:"))
    limit = (service / "memory.max").read_text().strip()
    return min([int(kib) * 1024, *([] if limit == "max" else [int(limit)])]) // 2


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _words(file: Path) -> list[str]:
    return file.read_text().split()
