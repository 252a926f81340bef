"""Puts the programs that a night needs on this machine, where it may."""

import os
import shutil
from collections.abc import Callable

from chalicelib.errors import ConfigError
from ebbtide_console import procs
from ebbtide_console.sandbox import probe

Tell = Callable[[str], None]


def install_missing(tell: Tell) -> int:
    """Install missing programs as root on Debian; otherwise say in one line what to install.

    Without root only what the degraded substrate needs has to be there. Raises ConfigError.
    """
    full = os.geteuid() == 0
    missing = probe.missing_programs(full)
    if missing and full and shutil.which("apt-get"):
        packages = sorted({program.package for program in missing})
        tell(f"installing {', '.join(packages)}")
        procs.check(("apt-get", "-qq", "update"))
        procs.check(("apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages))
        missing = probe.missing_programs(full)
    if missing:
        names = ", ".join(program.name for program in missing)
        wanted = " ".join(sorted({program.package for program in missing}))
        raise ConfigError((f"missing here: {names} (rsync must be 3.5 or newer); try: apt-get install {wanted}",))
    return 0
