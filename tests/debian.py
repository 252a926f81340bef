"""Real Debian trees for tests: a server to back up, restore and boot; the image that a receiver is launched from."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

KEPT = Path(__file__).parents[1] / ".ebbtide/trees-for-tests"
DATABASE_SERVER = "debian-databases"
# It mounts /proc in the tree for a while: whoever branches off a mount namespace just then keeps that mount, and would
# find this machine's processes in the finished tree. In a namespace of its own nobody sees it.
APART = ("unshare", "--mount", "--propagation", "private")
DEBOOTSTRAP = ("debootstrap", "--variant=minbase")
SERVER = "systemd-sysv,nginx-light,dbus"
MACHINE = "systemd-sysv,dbus,ca-certificates"
# What the user data would install; debootstrap knows neither security updates nor virtual packages, apt does.
FOR_A_RECEIVER = ("cloud-init", "python3-boto3", "openssh-server", "e2fsprogs", "btrfs-progs", "bubblewrap", "rsync")
DATABASES = ("postgresql", "mariadb-server", "slapd", "ldap-utils", "sqlite3")
# A package starts its server as soon as it is installed; in a tree it must not.
START_NOTHING = "#!/bin/sh\nexit 101\n"
INSTALL = """
set -eu
sed -i 's/^deb \\([^ ]*\\) trixie main.*/&\\ndeb \\1-security trixie-security main/' /etc/apt/sources.list
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install "$@"
apt-get clean
"""


def a_server() -> Path:
    """Debian 12 with systemd and nginx: what a host may be."""
    return _kept("debian-nginx", lambda tree: _bootstrap(SERVER, "bookworm", tree))


def a_machine_image() -> Path:
    """Debian 13 with cloud-init and all that a receiver needs: what a machine of ours is launched from."""
    return _kept("debian-machine", _make_machine_image)


def its_programs(names: Iterable[str], place: Path) -> Path:
    """A directory for the PATH with programs of that image, which start here with the libraries that they know."""
    image = a_machine_image()
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
    return _kept(DATABASE_SERVER, _make_database_server)


def _make_database_server(tree: Path) -> None:
    _bootstrap(MACHINE, "trixie", tree)
    starts = tree / "usr/sbin/policy-rc.d"
    starts.write_text(START_NOTHING)
    starts.chmod(0o755)
    _install(tree, DATABASES)


def _make_machine_image(tree: Path) -> None:
    _bootstrap(MACHINE, "trixie", tree)
    _install(tree, FOR_A_RECEIVER)


def _install(tree: Path, packages: tuple[str, ...]) -> None:
    shutil.copyfile("/etc/resolv.conf", tree / "etc/resolv.conf")
    _run("chroot", str(tree), "sh", "-c", INSTALL, "sh", *packages)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """Made once, and kept until `make clean-night`; a test of any worker may ask."""
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed")
    KEPT.mkdir(parents=True, exist_ok=True)
    tree = KEPT / name
    with open(KEPT / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            half_made = KEPT / f"{name}.part"
            shutil.rmtree(half_made, ignore_errors=True)
            make(half_made)
            half_made.rename(tree)
    return tree


def _bootstrap(packages: str, suite: str, tree: Path) -> None:
    may_part = subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0
    _run(*(APART if may_part else ()), *DEBOOTSTRAP, f"--include={packages}", suite, str(tree))


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
