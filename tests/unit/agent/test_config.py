"""The four files of a host: read as they are, never executed, every fault told at once with file and line."""

import errno
import os
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host.config import Config, load
from ebbtide_agent.host.filters import most_argument_bytes
from ebbtide_agent.host.target import EXPECTED, Directory, Receiver
from ebbtide_agent.host.written import MOST_BYTES
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.pipes import a_pipe

FOR_SSH = 'an absolute path without %, $, \\ and ", which mean something to ssh'
WHOLE = "HOST=us0\nTARGET=receiver://backup.example.org\nKEEP=7\n"


def loaded(etc: Path, config: str, **others: str) -> Config:
    (etc / "backup_config").write_text(config)
    for name, text in others.items():
        (etc / f"backup_{name}").write_text(text)
    return load(HostPaths(etc, etc / "state"))


def faults_of(etc: Path, config: str, **others: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(etc, config, **others)
    return [fault.replace(f"{etc}/", "") for fault in raised.value.faults]


def own(state: Path) -> tuple[str, ...]:
    return tuple(f"{state}/{each}" for each in ("index*", "contents/*", "scratch/*", "running*", "lock*"))


def test_three_keys_are_enough(tmp_path: Path) -> None:
    config = loaded(tmp_path, WHOLE)

    assert (config.host, config.target, config.keep) == ("us0", Receiver("backup.example.org", 22), 7)
    assert (config.user, config.key, config.root) == ("root", Path("/etc/ebbtide/key"), Path("/"))
    assert not config.one_file_system


def test_comments_blank_lines_quotes_and_a_port_are_understood(tmp_path: Path) -> None:
    config = loaded(
        tmp_path, "# mine\n\n HOST='us0'\nTARGET=\"receiver://b:2222\"\nKEEP=7\nROOT=/srv/my image\nBANDWIDTH=2.5m\n"
    )

    assert (config.host, config.target) == ("us0", Receiver("b", 2222))
    assert (config.root, config.bandwidth) == (Path("/srv/my image"), "2.5m")


def test_a_mark_that_an_editor_puts_before_the_first_line_is_no_part_of_it(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"\ufeff{WHOLE}", include="\ufeff/etc\r\n", exclude="\ufeff*.iso\r\n")

    assert (config.host, config.include, config.exclude[0]) == ("us0", ("/etc",), "*.iso")


@pytest.mark.parametrize("rate", ["0.1k", "0.0001", "0.4", "9999999999g", "800kb", "1.m"])
def test_a_rate_that_rsync_refuses_or_takes_for_none_is_a_fault(tmp_path: Path, rate: str) -> None:
    with pytest.raises(ConfigError, match="expected nothing, or a rate such as"):
        loaded(tmp_path, f"{WHOLE}BANDWIDTH={rate}\n")


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("rate", ["0", "0.5", "512", "2500000", "0.5k", "2.5M", "999999999g"])
def test_a_rate_that_is_one_rsync_takes(tmp_path: Path, rate: str) -> None:
    config = loaded(tmp_path, f"{WHOLE}BANDWIDTH={rate}\n")

    words = ("rsync", f"--bwlimit={config.bandwidth}", "-n", str(tmp_path), str(tmp_path / "x"))
    assert subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("TARGET=/backup # local disk", "TARGET"),
        ("TARGET='/backup'\t# local disk", "TARGET"),
        ("KEEP=7 # a week", "KEEP"),
        ("BANDWIDTH= # none", "BANDWIDTH"),
    ],
)
def test_a_comment_behind_a_value_is_a_fault_and_no_part_of_it(tmp_path: Path, written: str, key: str) -> None:
    lines = [line for line in WHOLE.splitlines() if not line.startswith(f"{key}=")]

    faults = faults_of(tmp_path, "\n".join((written, *lines)))

    said = f"{key} has a comment behind it; give that a line of its own, or put a value with # in it into quotes"
    assert faults == [f"backup_config:1: {said}"]


def test_a_value_with_a_number_sign_in_quotes_or_within_a_word_is_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, "HOST=us0\nTARGET='/back up # 2'\nKEEP=7\nROOT=/srv#2\n")

    assert (config.target, config.root) == (Directory(Path("/back up # 2")), Path("/srv#2"))


def test_nothing_in_a_value_is_ever_executed_or_expanded(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    config = loaded(tmp_path, f"{WHOLE}ROOT=/x$(touch {touched})`touch {touched}`$HOME\n")

    assert str(config.root) == f"/x$(touch {touched})`touch {touched}`$HOME"
    assert not touched.exists()


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    config = "HOST=us 0\nTARGET=rsync://x\nKEEP=0\nHOST=us1\nNAME=x\nrm -rf /\n"
    config += "KEY=key\nONE_FILE_SYSTEM=maybe\nRSYNC='rsync\n"

    assert faults_of(tmp_path, config) == [
        "backup_config:1: HOST is 'us 0', expected a host name",
        f"backup_config:2: TARGET is 'rsync://x', expected {EXPECTED}",
        "backup_config:3: KEEP is '0', expected a whole number from 1",
        "backup_config:4: HOST was given already at backup_config:1",
        "backup_config:5: NAME is not a key; expected one of HOST, TARGET, KEEP, USER, KEY, KNOWN_HOSTS, ROOT, RSYNC, "
        "BANDWIDTH, COMPRESS, ONE_FILE_SYSTEM, WHOLE_SYSTEM, SCRIPT_MINUTES, WAIT_MINUTES, SHRINK, REWRITE, CHECK, "
        "NICE, IONICE",
        "backup_config:6: 'rm -rf /' is not KEY=value",
        f"backup_config:7: KEY is 'key', expected {FOR_SSH}",
        "backup_config:8: ONE_FILE_SYSTEM is 'maybe', expected yes or no",
        "backup_config:9: RSYNC opens a quote and does not close it",
    ]


def test_a_path_that_ssh_would_read_as_another_is_a_fault(tmp_path: Path) -> None:
    odd = 'KEY=/srv/100%/key\nKNOWN_HOSTS=/srv/"hosts"\n'

    assert faults_of(tmp_path, WHOLE + odd) == [
        f"backup_config:4: KEY is '/srv/100%/key', expected {FOR_SSH}",
        f"backup_config:5: KNOWN_HOSTS is '/srv/\"hosts\"', expected {FOR_SSH}",
    ]
    assert loaded(tmp_path, f"{WHOLE}KEY=/srv/our keys/key\n").key == Path("/srv/our keys/key")


def test_what_a_guard_is_told_is_a_percentage_or_no(tmp_path: Path) -> None:
    usual = loaded(tmp_path, WHOLE)
    chosen = loaded(tmp_path, f"{WHOLE}SHRINK=90\nREWRITE=no\nCHECK=no\nNICE=0\nIONICE=idle\n")
    faults = faults_of(tmp_path, f"{WHOLE}SHRINK=100\nREWRITE=0\nCHECK=daily\nNICE=20\nIONICE=yes\n")

    assert (usual.shrink, usual.rewrite, usual.check_days, usual.nice, usual.ionice) == (50, 50, 30, 10, "best-effort")
    assert (chosen.shrink, chosen.rewrite, chosen.check_days, chosen.nice, chosen.ionice) == (90, None, None, 0, "idle")
    assert [fault.split(" is ")[0].split()[-1] for fault in faults] == ["SHRINK", "REWRITE", "CHECK", "NICE", "IONICE"]


def test_missing_keys_are_named(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "HOST=us0\n") == ["backup_config: TARGET is missing", "backup_config: KEEP is missing"]


def test_a_missing_file_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(HostPaths(tmp_path, tmp_path))

    (fault,) = raised.value.faults
    assert (
        fault == f"{tmp_path}/backup_config does not exist: ebbtide-agent install makes it, of HOST=, TARGET= and KEEP="
    )


def test_what_the_agent_keeps_does_not_travel_from_where_a_link_of_that_name_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "large")
    (tmp_path / "backup_config").write_text(WHOLE)
    monkeypatch.setattr(HostPaths, "state", tmp_path / "state")

    config = load(HostPaths(tmp_path, tmp_path / "state"))

    assert config.exclude == own(tmp_path / "large")


def test_what_the_kernel_makes_up_is_hidden_wherever_it_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = {b"/proc": "proc", b"/sys/fs/cgroup": "cgroup2", b"/srv/jail/proc": "proc", b"/srv/a*/sys": "sysfs"}
    mounts[b"/srv/covered/dev"] = "devtmpfs"
    others = {b"/": "ext4", b"/srv": "xfs", b"/srv/tmp": "tmpfs", b"/mnt": "fuse.sshfs", b"/net": "autofs"}
    monkeypatch.setattr(configuration, "read_mounts", lambda: {**mounts, **others})
    monkeypatch.setattr(os.path, "ismount", lambda point: point != "/srv/covered/dev")

    config = loaded(tmp_path, WHOLE, exclude="*.o\n")
    of_a_part = loaded(tmp_path, f"{WHOLE}ROOT=/srv/jail\n")
    of_a_directory = loaded(tmp_path, f"{WHOLE}WHOLE_SYSTEM=no\n")

    assert config.made_up == ("/srv/jail/proc/*", r"/srv/a\*/sys/*")
    assert config.hidden == (*config.exclude, *config.made_up)
    assert (of_a_part.made_up, of_a_directory.made_up) == ((), ())


def test_where_nobody_tells_what_is_mounted_nothing_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_mounts() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/self/mountinfo")

    monkeypatch.setattr(configuration, "read_mounts", read_mounts)

    assert loaded(tmp_path, WHOLE).made_up == ()


def test_patterns_are_taken_line_by_line_as_they_are(tmp_path: Path) -> None:
    config = loaded(tmp_path, WHOLE, include="/etc\n", exclude="# big\n\n/var/log/*.gz\n*.core \n")

    assert config.include == ("/etc",)
    assert config.exclude == ("/var/log/*.gz", "*.core ", *own(tmp_path / "state"))


def test_a_pattern_with_a_sign_is_a_fault_beside_those_of_the_other_file(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, WHOLE.replace("7", "x"), exclude="/ok\n- /var\n")

    assert faults == [
        "backup_config:3: KEEP is 'x', expected a whole number from 1",
        "backup_exclude:2: '- /var' starts with a sign; expected one bare rsync pattern a line",
    ]


def test_zero_bytes_that_a_crash_left_are_a_fault_with_file_and_line(tmp_path: Path) -> None:
    zeros = "there are zero bytes, as a crash leaves them; write this line anew"

    faults = faults_of(tmp_path, f"{WHOLE}RSYNC=rsync\0\n", include="/etc\n\0\0", exclude="*.o\0\n")

    assert faults == [f"backup_config:4: {zeros}", f"backup_exclude:1: {zeros}", f"backup_include:2: {zeros}"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (" /etc", "expected '/etc'"),
        ("; text", "expected '# text'"),
        ("./etc", "expected '/etc'"),
        ("../etc", "expected '/etc'"),
        ("etc//a", "expected 'etc/a'"),
        ("//etc", "expected '/etc'"),
        ("etc//", "expected 'etc/'"),
        ("/a/./b/", "expected '/a/b/'"),
        ("a/../b", "expected 'b'"),
        ("/", "take the line out"),
        ("//", "take the line out"),
        (".", "take the line out"),
    ],
)
def test_an_exclude_that_can_hardly_match_anything_is_a_doubt_with_file_and_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    config = loaded(tmp_path, WHOLE, exclude=f"*.o\n{line}\n")

    assert config.exclude[:2] == ("*.o", line)
    assert config.doubts == (f"{tmp_path}/backup_exclude:2: {line!r} probably excludes nothing; {expected}",)


@pytest.mark.parametrize("line", [" c", "a ;b", ".hidden", "..a/b", "/a/.b/", "*.core[ ]", "[./]b", "/**/b", "?/", "*"])
def test_an_exclude_that_can_match_something_is_none(tmp_path: Path, line: str) -> None:
    config = loaded(tmp_path, WHOLE, exclude=f"{line}\n")

    assert (config.exclude[0], config.doubts) == (line, ())


def test_a_place_that_rsync_would_discard_is_a_fault_with_file_and_line(tmp_path: Path) -> None:
    fits = f"/{'é' * 2045}x"

    loaded(tmp_path, WHOLE, include=f"{fits}\n")

    said = "the line is 4093 bytes long, and rsync takes no place of more than 4092"
    assert faults_of(tmp_path, WHOLE, include=f"{fits}\n{fits}x\n") == [f"backup_include:2: {said}"]


def test_an_exclude_that_rsync_would_discard_is_left_out_and_a_doubt_with_file_and_line(tmp_path: Path) -> None:
    fits = f"/{'é' * 2047}"

    config = loaded(tmp_path, WHOLE, exclude=f"{fits}\n{fits}x\n")

    said = "excludes nothing: it is 4096 bytes long, and rsync takes no pattern of more than 4095"
    assert config.exclude[:1] == (fits,) and f"{fits}x" not in config.exclude
    assert config.doubts == (f"{tmp_path}/backup_exclude:2: {f'{fits}x'!r:.80} {said}",)


def test_more_patterns_than_rsync_takes_are_a_fault_with_the_line_where_it_is_too_much(tmp_path: Path) -> None:
    lines = [f"/srv/customers/{number:06}/*.cache" for number in range(50_000)]
    fit = most_argument_bytes() // (len(f"--filter=- {lines[0]}") + 9)

    loaded(tmp_path, WHOLE, exclude="\n".join(lines[:fit]))

    most = f"{most_argument_bytes():,} bytes in all"
    said = f"up to this line the patterns are more than rsync can be given, {most}; say it with fewer and shorter ones"
    assert faults_of(tmp_path, WHOLE, exclude="\n".join(lines)) == [f"backup_exclude:{fit + 1}: {said}"]
    places = "\n".join(f"/srv/{number}/a/b" for number in range(20_000))
    (fault,) = faults_of(tmp_path, WHOLE, exclude="", include=places)
    assert fault.startswith("backup_include:") and fault.endswith(f": {said}")


def test_a_list_that_rsync_does_take_is_no_fault(tmp_path: Path) -> None:
    lines = [f"/srv/customers/{number:036}/*.cache" for number in range(15_000)]

    assert loaded(tmp_path, WHOLE, exclude="\n".join(lines)).exclude[:15_000] == tuple(lines)


@pytest.mark.parametrize("name", ["backup_config", "backup_include", "backup_exclude"])
@pytest.mark.parametrize("what", ["a pipe", "a device", "a directory", "too much"])
def test_only_a_regular_file_of_bounded_size_is_read(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "backup_config").write_text(WHOLE)
    place = tmp_path / name
    place.unlink(missing_ok=True)
    if what == "a device":
        place.symlink_to("/dev/null" if name == "backup_config" else "/dev/zero")
    elif what == "a directory":
        place.mkdir()
    elif what == "too much":
        place.touch()
        os.truncate(place, MOST_BYTES + 1)

    with a_pipe(place, "") if what == "a pipe" else nullcontext(), pytest.raises(ConfigError) as raised:
        load(HostPaths(tmp_path, tmp_path / "state"))

    expected = "it is larger than 16 MiB" if what == "too much" else "it is no regular file; expected lines of text"
    assert any(fault.startswith(f"{place}: {expected}") for fault in raised.value.faults)


def test_a_list_that_is_dev_null_says_nothing(tmp_path: Path) -> None:
    for name in ("backup_include", "backup_exclude"):
        (tmp_path / name).symlink_to("/dev/null")

    config = loaded(tmp_path, f"{WHOLE}WHOLE_SYSTEM=no\n")

    assert (config.include, config.exclude) == ((), ())


def test_what_the_agent_keeps_for_itself_is_left_out_where_it_is_kept(tmp_path: Path) -> None:
    config = loaded(tmp_path, f"{WHOLE}ROOT={tmp_path}\n")
    assert config.exclude == own(Path("/state"))

    assert loaded(tmp_path, f"{WHOLE}ROOT={tmp_path}\nWHOLE_SYSTEM=no\n").exclude == ()


def test_an_include_that_nothing_can_match_is_a_fault_with_its_line(tmp_path: Path) -> None:
    include = "/etc\r\n\n./etc\nsrv/data\n*.conf\n/tmp/data\n//\n/data//www\n//data/www\n/data/./www\n/data/www/..\n"
    spelled = "is spelled so that rsync finds nothing there; expected"

    assert faults_of(tmp_path, WHOLE, include=include) == [
        "backup_include:3: './etc' does not start with /; expected a place such as /etc, as seen from ROOT",
        "backup_include:4: 'srv/data' does not start with /; expected a place such as /etc, as seen from ROOT",
        "backup_include:5: '*.conf' does not start with /; expected a place such as /etc, as seen from ROOT",
        "backup_include:6: '/tmp/data' lies in /tmp/*, which is never backed up of a whole system",
        f"backup_include:7: '//' {spelled} '/'",
        f"backup_include:8: '/data//www' {spelled} '/data/www'",
        f"backup_include:9: '//data/www' {spelled} '/data/www'",
        f"backup_include:10: '/data/./www' {spelled} '/data/www'",
        f"backup_include:11: '/data/www/..' {spelled} '/data'",
    ]


def test_the_backup_goes_elsewhere_than_where_it_comes_from(tmp_path: Path) -> None:
    config = WHOLE.replace("receiver://backup.example.org", "/srv/backup")

    assert faults_of(tmp_path, config + "ROOT=/srv\n", include="/data\n/backup/old\n") == [
        "backup_include:2: '/backup/old' lies in TARGET /srv/backup, which is where the backup goes",
    ]
    assert faults_of(tmp_path, config + "ROOT=/srv/backup\n", include="/\n") == [
        "backup_config:2: TARGET is '/srv/backup', expected another directory than ROOT",
        "backup_include:1: '/' lies in TARGET /srv/backup, which is where the backup goes",
    ]


def test_a_directory_of_the_host_keeps_the_backup_out_of_itself(tmp_path: Path) -> None:
    config = loaded(tmp_path, WHOLE.replace("receiver://backup.example.org", "/backup"), exclude="*.o\n")

    assert (config.target, config.exclude) == (
        Directory(Path("/backup")),
        ("*.o", "/backup/*", *own(tmp_path / "state")),
    )


def test_a_volume_of_the_host_is_kept_out_where_it_is_mounted(tmp_path: Path) -> None:
    config = loaded(
        tmp_path, WHOLE.replace("receiver://backup.example.org", "volume://web1@vol-0abc/eu-west-1/archive")
    )

    assert config.exclude == (f"{tmp_path}/state/volume/*", *own(tmp_path / "state"))


def test_lines_may_end_as_they_do_elsewhere_and_any_place_of_a_directory_may_be_included(tmp_path: Path) -> None:
    config = loaded(tmp_path, WHOLE + "WHOLE_SYSTEM=no\r\n", include="/etc\r\n/tmp/data\r\n")

    assert (config.include, config.whole_system) == (("/etc", "/tmp/data"), False)
