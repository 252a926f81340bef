"""Real Debian trees for tests: a server to back up, restore and boot; the image that a receiver is launched from."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from ebbtide_console.sandbox.trees import bootstrap_argv

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".ebbtide/trees-for-tests"
DATABASE_SERVER = "debian-databases"
# It mounts /proc in the tree for a while: whoever branches off a mount namespace just then keeps that mount, and would
# find this machine's processes in the finished tree. In a namespace of its own nobody sees it.
APART = ("unshare", "--mount", "--propagation", "private")
SERVER = ("systemd-sysv", "nginx-light", "dbus")
MACHINE = ("systemd-sysv", "dbus", "ca-certificates")
# What the user data would install.
FOR_A_RECEIVER = ("cloud-init", "python3-boto3", "openssh-server", "e2fsprogs", "btrfs-progs", "bubblewrap", "rsync")
FOR_A_RECOVERY = ("systemd-container", "nftables")
# Where a tree has the packages that our tests run on.
OUR_TESTS = Path("opt/tests")
# Beside the server's tree, in which they lie, they are all that makes one with sysvinit and a cron of it.
SYSVINIT = ("sysvinit-core", "initscripts", "sysv-rc", "startpar", "insserv", "cron", "cron-daemon-common")
# As it was released, and not what its security updates have brought since.
OLDER_RSYNC = ("rsync/bookworm",)
FETCH_SYSVINIT = f"""\
mkdir "$1/srv/sysvinit" && cd "$1/srv/sysvinit" &&
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q download {" ".join(SYSVINIT)}
"""
CHANGE_INITS = """
cd /srv/sysvinit && export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
dpkg --purge --force-depends systemd-sysv && dpkg --install cron-daemon-* && dpkg --install --force-depends ./*.deb
"""
SEPARATE = "UUID=6a3f4c7e-5d35-4a9b-9d0c-0f6b8a1c2d3e /usr ext4 defaults 0 2\n"
LABEL = b"system_u:object_r:usr_t:s0\0"
DATABASES = ("postgresql", "mariadb-server", "slapd", "ldap-utils", "sqlite3")


def a_server() -> Path:
    """Debian 12 with systemd and nginx, SELinux's labels, and a /usr on a disk of its own: what a host may be."""
    return _kept("debian-server", "bookworm", SERVER, f"--customize-hook={FETCH_SYSVINIT}", settle_in=_settle_in)


def give_it_sysvinit(server: Path) -> None:
    """In place of systemd's init; systemd itself stays installed. The tree is this test's own."""
    subprocess.run(["chroot", server, "sh", "-ec", CHANGE_INITS], capture_output=True, check=True, timeout=120)


def a_machine_image() -> Path:
    """Debian 13 with cloud-init and all that ours need: what a receiver and a recovery's machine are launched from."""
    return _kept("debian-instance", "trixie", MACHINE + FOR_A_RECEIVER + FOR_A_RECOVERY)


def a_whole_machine() -> Path:
    """The same with a kernel, and with what our tests run on: it boots by itself, in a virtual machine."""
    packages = (*MACHINE, *FOR_A_RECEIVER, *FOR_A_RECOVERY, "linux-image-cloud-amd64")
    return _kept("debian-whole", "trixie", packages, settle_in=_bring_what_our_tests_run_on)


def its_programs(names: Iterable[str], place: Path) -> Path:
    """A directory for the PATH with programs of that image, which start here with the libraries that they know."""
    return _programs(a_machine_image(), names, place)


def an_older_rsync(place: Path) -> Path:
    """The program of Debian 12, 3.2.7 with its patches; it is written to `place`, a new directory."""
    return _programs(_kept("debian-rsync", "bookworm", OLDER_RSYNC, "--variant=extract"), ("rsync",), place) / "rsync"


def _programs(image: Path, names: Iterable[str], place: Path) -> Path:
    loader = next(image.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = ":".join(map(str, image.glob("usr/lib/*-linux-gnu")))
    place.mkdir()
    for name in names:
        program = next(image.glob(f"usr/*bin/{name}"))
        (place / name).write_text(f'#!/bin/sh\nexec {loader} --library-path {libraries} {program} "$@"\n')
        (place / name).chmod(0o755)
    return place


def a_database_server() -> Path | None:
    """Debian 13 with the databases that we have ready-made dumps for, if `make databases` was ever said here."""
    tree = KEPT / DATABASE_SERVER
    return tree if tree.exists() else None


def make_a_database_server() -> Path:
    return _kept(DATABASE_SERVER, "trixie", MACHINE + DATABASES)


def _settle_in(tree: Path) -> None:
    (tree / "etc/fstab").write_text(SEPARATE)
    with suppress(PermissionError):  # who may not mount may not do this either
        for directory, below, files in os.walk(tree):
            for name in (".", *below, *files):
                os.setxattr(f"{directory}/{name}", "security.selinux", LABEL, follow_symlinks=False)


def _bring_what_our_tests_run_on(tree: Path) -> None:
    """For the Python there, from where this one has it."""
    python = (tree / "usr/bin/python3").readlink().name
    words = ("--quiet", "--no-compile", "--only-binary=:all:", f"--python-version={python.removeprefix('python')}")
    place, wanted = str(tree / OUR_TESTS), str(ROOT / "requirements-dev.txt")
    _run(sys.executable, "-m", "pip", "install", *words, "--target", place, "--requirement", wanted)
    _run("chroot", str(tree), python, "-m", "compileall", "-q", "-j", "0", f"/{OUR_TESTS}")


def _kept(
    name: str,
    suite: str,
    packages: Iterable[str],
    *options: str,
    settle_in: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Made once, and kept until `make clean-night`; a test of any worker may ask."""
    KEPT.mkdir(parents=True, exist_ok=True)
    tree = KEPT / name
    with open(KEPT / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            half_made = KEPT / f"{name}.part"
            shutil.rmtree(half_made, ignore_errors=True)
            _make(half_made, suite, packages, options)
            settle_in(half_made)
            half_made.rename(tree)
    return tree


def _make(tree: Path, suite: str, packages: Iterable[str], options: Iterable[str]) -> None:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    may_part = subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0
    *words, named, place = bootstrap_argv(suite, packages, tree)
    _run(*(APART if may_part else ()), *words, *options, named, place)


def _run(*argv: str) -> None:
    made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900)
    if made.returncode != 0:
        said = (made.stdout + made.stderr).strip().splitlines()
        pytest.skip(f"no Debian tree could be made: {said[-1] if said else 'no output'}")


if __name__ == "__main__":
    try:
        print(f"{make_a_database_server()} is there")
    except pytest.skip.Exception as error:
        sys.exit(str(error))
