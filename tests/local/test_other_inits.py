"""Servers that do not have systemd for their init: with sysvinit, and with none, by the commands of the policy."""

import os
import struct
from pathlib import Path

import pytest
from enclosed import on_a_loopback_of_its_own

from ebbtide_agent.entry import read_real
from ebbtide_agent.fakesuper import kernel_acl
from ebbtide_agent.restore.boot_image import KEPT, REBOOT, booted
from ebbtide_agent.restore.compare import differences
from ebbtide_agent.restore.probe import probe
from tests.debian import LABEL, give_it_sysvinit
from tests.local.images import BOOTS_IMAGES, NAME, a_tree, inside

WELCOME = "http://127.0.0.1/"
# What `cat` says of the pid file that Debian's cron writes as soon as it runs.
NO_CRON = "cat: /run/crond.pid: No such file or directory"

pytestmark = BOOTS_IMAGES


def decorate(directory: Path) -> None:
    """With what a directory may have beside its mode."""
    os.setxattr(directory, "user.note=50%", b"its own")
    os.setxattr(
        directory, "system.posix_acl_access", kernel_acl(struct.pack("<6I", *4 * [0x80], 1000, 0x80000004), 0o750)
    )
    os.utime(directory, ns=(0, 1234567890987654321))


@pytest.mark.fault("O6")
@pytest.mark.fault("O9")
@on_a_loopback_of_its_own
def test_a_server_with_sysvinit_comes_up_by_it_without_its_cron_which_its_operator_can_have(
    image: Path, tmp_path: Path
) -> None:
    with a_tree(image, tmp_path) as tree:
        give_it_sysvinit(tree)
        decorate(tree / "etc/rc2.d")
        backed_up = list(read_real(tree))

        with booted(tree, NAME, patience=120) as tried:
            answer = probe(WELCOME, tried.leader or 0)
            (runlevel, *_) = read_real(Path(f"/proc/{tried.leader}/root/etc/rc2.d"))
            init = inside(tried, "cat /proc/1/comm; runlevel")
            found = inside(tried, "hostname; cat /run/crond.pid; mountpoint /srv/work; cat /etc/hostname")
            label = os.getxattr(f"/proc/{tried.leader}/root/etc/passwd", "security.selinux")
        with booted(tree, NAME, patience=120, stands=True) as stands:
            without_cron = inside(stands, "cat /run/crond.pid")
            inside(stands, "service cron start && update-rc.d cron defaults && reboot")
            ended = stands.wait()
        with booted(tree, NAME, patience=120, stands=True) as again:
            with_cron = inside(again, "cat /run/crond.pid")

        assert (tried.why, stands.why, again.why) == (None, None, None)
        assert (answer.answer, init) == ("200 OK", "init\nN 2")
        assert found == f"{NAME}\n{NO_CRON}\n/srv/work is not a mountpoint\n{NAME}"
        assert label == LABEL
        assert list(differences(next(read_real(tree / "etc/rc2.d")), runlevel)) == []
        assert (without_cron, ended) == (NO_CRON, REBOOT)
        assert with_cron.isdigit()
        assert list(read_real(tree)) == backed_up
        assert not (tree.parent / KEPT / "upper/etc/inittab").exists()


@pytest.mark.fault("O9")
@on_a_loopback_of_its_own
def test_a_server_without_an_init_comes_up_by_its_commands_and_those_that_fail_are_told(
    image: Path, tmp_path: Path
) -> None:
    commands = ("no-such-command", "service nginx start", 'read -r word || echo "its name is $(hostname)" >/srv/name')
    with a_tree(image, tmp_path) as tree:
        for init in ("sbin/init", "usr/lib/systemd/systemd"):
            (tree / init).unlink()
        backed_up = list(read_real(tree))

        with booted(tree, NAME, patience=120, stands=True, commands=commands) as boot:
            networks = {Path(f"/proc/{whose}/ns/net").readlink() for whose in ("self", boot.leader)}
            answer = probe(WELCOME, os.getpid())
            asked = probe("command: sh -c 'cat /srv/name; pidof nginx'", boot.leader or 0)

        assert boot.why is None
        assert boot.failures == ("`no-such-command` ended with exit code 127: /bin/sh: 1: no-such-command: not found",)
        assert (answer.answer, len(networks)) == ("200 OK", 1)
        assert asked.ok, asked.answer
        assert (tree.parent / KEPT / "upper/srv/name").read_text() == f"its name is {NAME}\n"
        assert list(read_real(tree)) == backed_up
