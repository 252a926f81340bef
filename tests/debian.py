"""A real Debian server to back up, restore and boot: with systemd and nginx, made by debootstrap."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = "systemd-sysv,nginx-light,dbus"


def debian_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian server, made once and kept where EBBTIDE_TREES says."""
    home = Path(os.environ.get("EBBTIDE_TREES") or tmp_path_factory.mktemp("trees"))
    home.mkdir(parents=True, exist_ok=True)
    image = home / "debian-nginx"
    with open(home / "debian-nginx.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            make(image)
    return image


def make(image: Path) -> None:
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed")
    half_made = image.with_suffix(".part")
    shutil.rmtree(half_made, ignore_errors=True)
    argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(half_made)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900)
    if made.returncode != 0:
        pytest.skip(f"debootstrap could not make an image: {made.stdout.strip().splitlines()[-1:]}")
    half_made.rename(image)
