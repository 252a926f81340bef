"""A restored server does nobody else's work: of its own units, and of its users', no timer fires, and no file system is
mounted, whatever would start them; and what names it or its disks is no longer the original's."""

from pathlib import Path

import pytest
from enclosed import on_a_loopback_of_its_own

from ebbtide_agent.entry import read_real
from ebbtide_agent.restore.boot_image import booted
from tests.local.images import BOOTS_IMAGES, NAME, a_tree, inside

TIMER = "[Timer]\nOnActiveSec=0\nOnUnitActiveSec=1day\nAccuracySec=1ms\n"
SHARE = "[Mount]\nWhat=share\nWhere=/mnt/{}\nType=tmpfs\n"
A_SERVICE = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{}'\n"
# Where each lies, what wants it, and what it is.
UNITS = {
    "etc/systemd/system/job1.timer": ("multi-user.target", TIMER),
    "usr/local/lib/systemd/system/job2.timer": ("default.target", TIMER),
    "usr/lib/systemd/system/job@.timer": ("", TIMER),
    "etc/systemd/system.control/job4.timer": ("sysinit.target", "[Unit]\nDefaultDependencies=no\n" + TIMER),
    "etc/systemd/system/mnt-share.mount": ("remote-fs.target", SHARE.format("share")),
    r"etc/systemd/system/mnt-a\x2dshare.mount": ("multi-user.target", SHARE.format("a-share")),
    "etc/systemd/system/mnt-later.mount": ("", SHARE.format("later")),
    "etc/systemd/system/mnt-later.automount": ("multi-user.target", "[Automount]\nWhere=/mnt/later\n"),
    "etc/systemd/system/mounts.service": ("multi-user.target", A_SERVICE.format("mount -a")),
    "etc/systemd/system/works.service": ("multi-user.target", A_SERVICE.format("touch /srv/works")),
}
JOBS = ("job1", "job2", "job@3", "job4", "job5")
# As that of systemd-cron, which makes timers out of crontabs.
GENERATOR = f"""#!/bin/sh
mkdir "$1/timers.target.wants" && ln -s ../job5.timer "$1/timers.target.wants"
printf '{TIMER.encode("unicode_escape").decode()}' >"$1/job5.timer"
"""
# What a user has of their own, who lingers: their manager is up as long as the machine is.
OF_A_USER = {
    "root/.config/systemd/user/mine.timer": ("default.target", TIMER),
    "root/.config/systemd/user.control/first.timer": ("timers.target", TIMER),
    "usr/lib/systemd/user/everybodys.timer": ("timers.target", TIMER),
    "root/.config/systemd/user/works.service": ("default.target", A_SERVICE.format("touch /srv/works")),
}
THEIRS = ("mine", "first", "everybodys")
# As libpam-systemd has it.
THEIR_MANAGER = "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
AS_THEM = "XDG_RUNTIME_DIR=/run/user/0 systemctl --user"

pytestmark = BOOTS_IMAGES


def give_it_work(tree: Path) -> None:
    system = tree / "etc/systemd/system"
    for path, (wanted_by, unit) in UNITS.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(unit)
        want(tree, path, wanted_by)
    for job in JOBS:
        (system / f"{job}.service").write_text(A_SERVICE.format(f"touch /srv/{job}"))
    want(tree, "usr/lib/systemd/system/job@3.timer", "multi-user.target")
    generator = tree / "etc/systemd/system-generators/makes-timers"
    generator.parent.mkdir()
    generator.write_text(GENERATOR)
    generator.chmod(0o755)
    for directory in ("share", "a-share", "later", "listed"):
        (tree / "mnt" / directory).mkdir()
    (tree / "etc/fstab").write_text("listed /mnt/listed tmpfs defaults 0 0\n")
    (tree / "etc/hostname").write_text("us0\n")


def give_a_user_work(tree: Path) -> None:
    users = "root/.config/systemd/user"
    for path, (wanted_by, unit) in OF_A_USER.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(unit)
        want(tree, path, wanted_by, users)
    for job in THEIRS:
        (tree / users / f"{job}.service").write_text(A_SERVICE.format(f"touch /srv/{job}"))
    (tree / "etc/systemd/system/user@.service.d").mkdir()
    (tree / "etc/systemd/system/user@.service.d/runtime.conf").write_text(THEIR_MANAGER)
    (tree / "var/lib/systemd/linger").mkdir()
    (tree / "var/lib/systemd/linger/root").touch()
    # Of when it was a restored server itself.
    (tree / "etc/ebbtide-user-timers").mkdir()
    (tree / "etc/ebbtide-user-timers/everybodys.timer").touch()


def want(tree: Path, path: str, target: str, units: str = "etc/systemd/system") -> None:
    if target:
        wants = tree / f"{units}/{target}.wants"
        wants.mkdir(parents=True, exist_ok=True)
        template = path.replace("@3", "@")
        (wants / Path(path).name).symlink_to(f"/{template}")


@pytest.mark.fault("O6")
@pytest.mark.parametrize("stands", [False, True])
@on_a_loopback_of_its_own
def test_no_timer_of_a_clone_fires_and_nothing_of_others_is_mounted_whatever_wants_it(
    image: Path, tmp_path: Path, stands: bool
) -> None:
    with a_tree(image, tmp_path) as tree:
        give_it_work(tree)
        backed_up = list(read_real(tree))

        with booted(tree, NAME, patience=120, stands=stands) as boot:
            settled = inside(boot, "systemctl is-system-running --wait >/dev/null; systemctl is-active works.service")
            timers = inside(boot, f"systemctl is-active {' '.join(f'{job}.timer' for job in JOBS)}")
            ran = inside(boot, "ls /srv")
            mounted = inside(boot, "ls /mnt/later; grep -o ' /mnt/[a-z-]*' /proc/self/mountinfo")
            names = inside(boot, "cat /etc/hostname; hostname; grep -v '^#' /etc/fstab")
            memory = inside(boot, "systemctl show --property=LoadState --value dev-mqueue.mount")

        assert boot.why is None
        assert settled == "active"
        assert (timers.split(), ran.split()) == (["inactive"] * len(JOBS), ["sysvinit", "work", "works"])
        assert mounted == ""
        assert names == f"{NAME}\n{NAME}"
        assert memory == "loaded"
        assert list(read_real(tree)) == backed_up


@pytest.mark.fault("O6")
@on_a_loopback_of_its_own
def test_no_timer_of_a_user_fires_in_a_clone_before_its_operator_wants_that_and_what_else_a_user_runs_does(
    image: Path, tmp_path: Path
) -> None:
    with a_tree(image, tmp_path) as tree:
        give_a_user_work(tree)

        with booted(tree, NAME, patience=120, stands=True) as boot:
            settled = inside(boot, f"{AS_THEM} is-system-running --wait; {AS_THEM} is-active works.service")
            timers = inside(boot, f"{AS_THEM} is-active {' '.join(f'{job}.timer' for job in THEIRS)}")
            ran = inside(boot, "ls /srv")
            wanted = inside(boot, "mkdir /etc/ebbtide-user-timers && touch /etc/ebbtide-user-timers/mine.timer")
            started = inside(boot, f"{AS_THEM} start mine.timer && {AS_THEM} is-active mine.timer")

        assert boot.why is None
        assert settled.split() == ["running", "active"]
        assert (timers.split(), ran.split()) == (["inactive"] * len(THEIRS), ["sysvinit", "work", "works"])
        assert (wanted, started) == ("", "active")
