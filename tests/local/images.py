"""Booting a server's tree as a restored one is: what such a test needs, a tree of its own, and a shell within."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent.restore.boot_image import Boot
from ebbtide_console.sandbox import kernel
from tests.debian import SEPARATE

NAME = "restored-us0a"
FSTAB = f"{SEPARATE}work /srv/work tmpfs defaults 0 0\n"
BOOTS_IMAGES = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="booting an image needs root"),
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed"),
]


@contextmanager
def a_tree(image: Path, place: Path) -> Iterator[Path]:
    """That server's, for this test to change."""
    for private in (place, Path("/run")):  # nspawn keeps its locks in /run
        kernel.mount("tmpfs", private, "tmpfs", options="mode=755")
    tree, upper, work = (place / name for name in ("tree", "upper", "work"))
    for directory in (tree, upper, work):
        directory.mkdir()
    kernel.mount("overlay", tree, "overlay", options=f"lowerdir={image},upperdir={upper},workdir={work}")
    (tree / "srv/work").mkdir()
    (tree / "etc/fstab").write_text(FSTAB)
    (tree / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
    yield tree


def inside(boot: Boot, command: str) -> str:
    """What a shell of the image says, beside its own processes."""
    enter = ["nsenter", "--target", str(boot.leader), "--mount", "--uts", "--pid", "--root", "--", "sh", "-c"]
    ran = subprocess.run([*enter, f"exec 2>&1; {command}"], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    return ran.stdout.strip()
