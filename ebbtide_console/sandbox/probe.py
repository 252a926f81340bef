"""What this machine allows and has: decides between the full and the degraded substrate, and lists missing programs."""

import os
import re
import shutil
from dataclasses import dataclass

from ebbtide_console import procs
from ebbtide_console.sandbox.enclosure import enter_argv
from ebbtide_console.sandbox.machine import python

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEAST_RSYNC = (3, 5)


@dataclass(frozen=True)
class Verdict:
    """Whether the full substrate works here; if not, `why` says in one line what stands against it."""

    full: bool
    why: str


@dataclass(frozen=True)
class Program:
    """A program that nights call, and the Debian package that has it; `full_only` if only the full substrate does."""

    name: str
    package: str
    full_only: bool = False


PROGRAMS = (
    Program("rsync", "rsync"),
    Program("ssh", "openssh-client"),
    Program("ssh-keygen", "openssh-client"),
    Program("sshd", "openssh-server"),
    Program("bwrap", "bubblewrap"),
    Program("setpriv", "util-linux"),
    Program("unshare", "util-linux", full_only=True),
    Program("nsenter", "util-linux", full_only=True),
    Program("mount", "mount", full_only=True),
    Program("umount", "mount", full_only=True),
    Program("ip", "iproute2", full_only=True),
    Program("nft", "nftables", full_only=True),
    Program("mkfs.ext4", "e2fsprogs", full_only=True),
    Program("mkfs.xfs", "xfsprogs", full_only=True),
    Program("mmdebstrap", "mmdebstrap", full_only=True),
    Program("systemd-nspawn", "systemd-container", full_only=True),
)


def probe() -> Verdict:
    """Try it: root, the programs, and then each thing itself, in an enclosure that is gone right after."""
    if os.geteuid() != 0:
        return Verdict(False, "not root")
    missing = missing_programs(full=True)
    if missing:
        return Verdict(False, f"not installed: {', '.join(program.name for program in missing)}")
    tried = procs.capture(enter_argv(python("ebbtide_console.sandbox.trial")))
    if tried.returncode == 0:
        return Verdict(True, "")
    said = (tried.stdout + tried.stderr).strip().splitlines()
    return Verdict(False, said[-1] if said else "this machine refuses mount and process namespaces")


def missing_programs(full: bool) -> list[Program]:
    """Which programs a night would miss here; a rsync that is too old counts as missing."""
    wanted = [program for program in PROGRAMS if full or not program.full_only]
    return [program for program in wanted if not _have(program.name)]


def _have(name: str) -> bool:
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if found is None or name != "rsync":
        return found is not None
    version = re.search(r"version v?(\d+)\.(\d+)", procs.capture((found, "--version")).stdout)
    return version is not None and (int(version[1]), int(version[2])) >= LEAST_RSYNC
