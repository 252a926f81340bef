"""What starts an image, by what is in its tree, and what one with sysvinit finds different from its tree."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from ebbtide_agent.restore.inits import ANOTHER, SYSTEMD, SYSVINIT, Course, Start, init_of, start_of, why_not_started
from ebbtide_agent.restore.masked import MASKED, MASKED_WHERE_IT_STANDS, scripts
from ebbtide_agent.restore.recovery import parse_brief
from ebbtide_agent.restore.units import left_out

WIRE = Path("tests/contract/wire")
BY_LINKS = "id:2:initdefault:\nl2:2:wait:/etc/init.d/rc 2\n"
BY_LISTS = "id:3:initdefault:\nl3:3:wait:/sbin/openrc default\n"
WITHOUT = "and the policy has no `start` for its host"


def a_tree(tree: Path, *files: str, inittab: str = BY_LINKS) -> Path:
    """With an inittab, and these files; one that ends in a slash is a directory."""
    for file in ("etc/inittab", *files):
        path = tree / file
        (path if file.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            path.write_text(inittab)
    return tree


@pytest.mark.parametrize(
    ("files", "inittab", "init"),
    [
        ((), BY_LINKS, None),
        (("usr/lib/systemd/systemd",), "", SYSTEMD),
        (("lib/systemd/systemd", "sbin/init"), "# Not used by systemd\n", SYSTEMD),
        (("sbin/init",), BY_LINKS, SYSVINIT),
        (("sbin/init", "usr/lib/systemd/systemd"), BY_LINKS, SYSVINIT),
        (("sbin/init",), BY_LISTS, ANOTHER),
        (("sbin/init",), f"#{BY_LINKS}".replace("\nl2", "\n#l2"), ANOTHER),
        (("sbin/init", "etc/runlevels/default/"), BY_LINKS, ANOTHER),
    ],
)
def test_an_init_is_known_by_what_it_is_and_goes_by(
    files: tuple[str, ...], inittab: str, init: str | None, tmp_path: Path
) -> None:
    assert init_of(a_tree(tmp_path, *files, inittab=inittab)) == init


def test_a_link_to_an_init_is_not_taken_for_sysvinit(tmp_path: Path) -> None:
    (a_tree(tmp_path, "sbin/").joinpath("sbin/init")).symlink_to("/bin/busybox")

    assert init_of(tmp_path) == ANOTHER


def test_what_has_neither_init_is_started_by_the_commands_of_the_policy_alone(tmp_path: Path) -> None:
    without, another = a_tree(tmp_path / "without"), a_tree(tmp_path / "another", "sbin/init", inittab=BY_LISTS)
    known = a_tree(tmp_path / "known", "sbin/init")
    commands = parse_brief((WIRE / "brief-restore.json").read_bytes()).start

    assert commands == ("service nginx start",)
    assert parse_brief((WIRE / "brief-recovery.json").read_bytes()).start == ()
    assert why_not_started(without, ()) == f"the image has no init, {WITHOUT}"
    assert why_not_started(another, ()) == f"its init is neither systemd nor sysvinit, {WITHOUT}"
    assert [why_not_started(tree, commands) for tree in (without, another)] == [None, None]
    assert why_not_started(known, ()) is None
    assert start_of(another, "us0", False, commands, "MARK").steps == commands
    assert "service nginx start" not in start_of(known, "us0", False, commands, "MARK").arguments


def over(tree: Path, stands: bool = False) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(start_of(tree, "restored-us0a", stands, (), "MARK").layer)) as layer:
        return {member.name: member for member in layer}


def hidden(tree: Path, stands: bool = False) -> set[str]:
    """What overlayfs shows as not there."""
    found = {name: member for name, member in over(tree, stands).items() if member.type == tarfile.CHRTYPE}
    assert {(member.devmajor, member.devminor) for member in found.values()} <= {(0, 0)}
    return set(found)


@pytest.mark.fault("O6")
def test_sysvinit_finds_none_of_the_links_that_would_do_the_originals_work_and_all_others(tmp_path: Path) -> None:
    of_the_original = {f"etc/rc2.d/S{number:02}{script}" for number, script in enumerate(scripts(MASKED))}
    of_the_network = {"etc/rcS.d/S12networking", "etc/rc3.d/S01nftables"}
    its_own = {"etc/rc2.d/S01nginx", "etc/rc2.d/S03cron-apt", "etc/rc0.d/K01cron", "etc/rcS.d/S01hostname.sh"}
    tree = a_tree(tmp_path, "sbin/init", *of_the_original, *of_the_network, *its_own, "etc/rcS.d/S13cron.sh")

    assert {"cron", "atd", "exim4", "postfix", "cloud-init", "ebbtide-agent"} <= scripts(MASKED)
    assert {"ddclient", "inadyn", "fetchmail"} <= scripts(MASKED)
    assert hidden(tree) == of_the_original | {"etc/rcS.d/S13cron.sh"}
    assert hidden(tree, stands=True) == hidden(tree) | of_the_network
    assert not scripts(MASKED) & scripts(MASKED_WHERE_IT_STANDS)


def test_sysvinit_finds_its_new_name_nothing_to_mount_and_an_inittab_that_says_when_it_is_up(tmp_path: Path) -> None:
    tree = a_tree(tmp_path, "sbin/init", "etc/rc2.d/S01cron", "usr/lib/systemd/systemd")
    (tree / "etc").chmod(0o751)
    (tree / "lib").symlink_to("usr/lib")

    start = start_of(tree, "restored-us0a", False, (), "MARK")

    with tarfile.open(fileobj=io.BytesIO(start.layer)) as layer:
        there = {each.name: layer.extractfile(each).read().decode() for each in layer if each.isfile()}  # type: ignore[union-attr]
        directories = {each.name: each.mode for each in layer if each.isdir()}
    assert there.keys() == {"etc/hostname", "etc/fstab", "etc/inittab"}
    assert there["etc/hostname"] == "restored-us0a\n"
    assert [line for line in there["etc/fstab"].splitlines() if not line.startswith("#")] == []
    assert there["etc/inittab"].startswith(BY_LINKS)
    assert there["etc/inittab"].splitlines()[-1] == "eb:12345:once:/bin/echo MARK 0 >/dev/console"
    assert directories == {"etc": 0o751, **dict.fromkeys(("etc/rc2.d", "usr", "usr/lib", "usr/lib/systemd"), 0o755)}
    assert hidden(tree) == {"etc/rc2.d/S01cron", "usr/lib/systemd/systemd"}


@pytest.mark.fault("O6")
@pytest.mark.parametrize("init", ["usr/lib/systemd/systemd", "sbin/init"])
def test_whatever_starts_it_finds_its_new_name_and_nothing_to_mount(init: str, tmp_path: Path) -> None:
    tree = a_tree(tmp_path, init, "etc/systemd/system.control/cron.service", inittab=BY_LISTS)

    assert over(tree).keys() >= {"etc/hostname", "etc/fstab"}
    assert ("etc/systemd/system.control/cron.service" in hidden(tree)) == (init_of(tree) == SYSTEMD)


@pytest.mark.fault("O6")
def test_systemd_is_told_of_every_timer_and_mount_of_the_tree_but_the_kernels_own(tmp_path: Path) -> None:
    wanted = {
        "etc/systemd/system/job.timer",
        "usr/local/lib/systemd/system/job@.timer",
        "usr/lib/systemd/system/logrotate.timer",
        "etc/systemd/system.control/own.timer",
        r"etc/systemd/system/srv-a\x2dshare.mount",
        "etc/systemd/system/srv-later.automount",
        "run/systemd/system/var-lib-machines.mount",
    }
    others = {
        "etc/systemd/system/web.service",
        "etc/systemd/system/a name.timer",
        "etc/systemd/system/multi-user.target.wants/linked.timer",
        "usr/lib/systemd/system/proc-sys-fs-binfmt_misc.automount",
        "usr/lib/systemd/system/sys-kernel-debug.mount",
        "usr/lib/systemd/system/dev-mqueue.mount",
        "usr/lib/systemd/system/run-rpc_pipefs.mount",
        "usr/lib/systemd/system/tmp.mount",
        "usr/lib/systemd/system/-.mount",
    }
    tree = a_tree(tmp_path, "usr/lib/systemd/systemd", *wanted, *others)

    told = {word.removeprefix("systemd.mask=") for word in start_of(tree, "us0", False, (), "MARK").arguments}

    assert told - set(MASKED) == {"systemd.hostname=us0", *(Path(path).name for path in wanted)}


@pytest.mark.attack("a link in place of a directory of units", row="X8", outcome="it is not followed")
@pytest.mark.fault("X8")
def test_no_link_leads_to_units_that_are_not_the_images(tmp_path: Path) -> None:
    elsewhere = a_tree(tmp_path / "elsewhere", "systemd/system/job.timer", "systemd/system.control/cron.service")
    tree = a_tree(tmp_path / "tree", "usr/lib/systemd/systemd")
    (tree / "etc/systemd").symlink_to(elsewhere / "systemd")

    assert left_out(tree) == ()
    assert hidden(tree) == set()


def test_what_is_a_word_to_another_overlay_is_not_said_to_this_one(tmp_path: Path) -> None:
    tree = a_tree(tmp_path, "sbin/init")
    try:
        os.setxattr(tree / "etc", "trusted.overlay.opaque", b"y")
    except PermissionError:
        pytest.skip("only real root may set such an attribute")
    os.setxattr(tree / "etc", "user.note", b"kept")

    assert over(tree)["etc"].pax_headers.keys() == {"mtime", "SCHILY.xattr.user.note"}


@pytest.mark.attack("a link in place of a runlevel's directory", row="X8", outcome="it is not followed")
@pytest.mark.fault("X8")
def test_no_link_of_an_image_is_followed_or_lain_over(tmp_path: Path) -> None:
    elsewhere = a_tree(tmp_path / "elsewhere", "rc3.d/S01cron")
    tree = a_tree(tmp_path / "tree", "sbin/init", "etc/rc2.d/S01cron")
    (tree / "etc/rc3.d").symlink_to(elsewhere / "rc3.d")
    linked = a_tree(tmp_path / "linked", "sbin/init")
    (linked / "etc/inittab").rename(linked / "inittab")
    (linked / "etc/inittab").symlink_to("/etc/inittab")

    assert hidden(tree) == {"etc/rc2.d/S01cron"}
    assert init_of(linked) == ANOTHER


def the_course(*said: bytes, steps: tuple[str, ...] = ("sshd", "nginx", "sleep 9")) -> Course:
    course = Course(Start((), (), "MARK", steps))
    for each in said:
        course.hear(each)
    return course


def test_each_command_that_fails_is_told_and_the_one_that_does_not_come_to_its_end() -> None:
    said = b"MARK 0\nnginx: configuration file is broken\r\nMARK 1\nsleeping\n"

    course, ended = the_course(said), the_course(said, b"MARK 0\r\n")

    assert course.failures() == ("`nginx` ended with exit code 1: nginx: configuration file is broken",)
    assert course.last_words() == "`sleep 9` has not come to its end: sleeping"
    assert (course.is_done(), ended.is_done()) == (False, True)
    assert the_course(b"MARK 127\n").failures() == ("`sshd` ended with exit code 127: it said nothing",)


def test_what_is_said_is_understood_in_whatever_pieces_it_comes() -> None:
    said = b"starting\nMARK 0\nfailing\r\nMARK 1\r\nslee"

    course = the_course(*(said[at : at + 1] for at in range(len(said))))

    assert course.failures() == ("`nginx` ended with exit code 1: failing",)
    assert course.last_words() == "`sleep 9` has not come to its end: slee"


@pytest.mark.attack(
    "an image's console that never ends, or says what is no exit code", row="X8", outcome="it is passed over"
)
@pytest.mark.fault("X8")
def test_an_image_that_talks_without_end_or_forges_marks_is_neither_kept_nor_believed() -> None:
    talking = the_course(*[b"x" * (1 << 16)] * 20)
    forged = the_course(b"MARK " + b"9" * 5000 + b"\nMARK 0\n" * 3, b"MARK 7\nMARK 8\n")

    assert len(talking.last_words()) < 1 << 14
    assert forged.is_done()
    assert forged.failures() == ()
