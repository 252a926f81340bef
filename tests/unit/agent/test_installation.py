"""Installing: every step told first, nothing of the operator's written over, and nothing left to do a second time."""

import json
import os
import re
import shutil
import stat
import sys
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ebbtide_agent import keys, steps
from ebbtide_agent.errors import ConfigError, PermanentError, Refused
from ebbtide_agent.host import enrolment, installation, schedule, starting
from ebbtide_agent.host.identity import encode_installed
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host_main import main
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.site import Site

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh is not installed")
RECEIVERS_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'B' * 43}"
ANOTHER_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'C' * 43}"
NOTHING_REMOVED = "ebbtide: nothing was removed: say --yes to have it done"
TARGET = "receiver://backup.example.org"


@dataclass
class Host:
    """A host whose files lie in places of their own, as those of a user do."""

    place: Path
    capture: pytest.CaptureFixture[str]
    places: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.places = ["--etc", str(self.etc), "--state", str(self.state)]

    @property
    def etc(self) -> Path:
        return self.place / "etc"

    @property
    def state(self) -> Path:
        return self.place / "state"

    @property
    def key(self) -> Path:
        return self.etc / "ebbtide/key"

    def told(self, *words: str) -> tuple[int, str, str]:
        code = main([*words, *self.places])
        out, err = self.capture.readouterr()
        return code, out, err.replace(f"{self.place}/", "")

    def install(self, *words: str) -> str:
        """What it said while it did so; the lines for the policy are dropped."""
        code, _, err = self.told("install", *words)
        assert code == 0, err
        return err

    def becomes_another_machine(self) -> None:
        installed = replace(self.recorded(), marks={**self.recorded().marks, "machine-id": "of another"})
        (self.state / "installed.json").write_bytes(encode_installed(installed))

    def recorded(self) -> installation.Installed:
        found = installation.identity.find_installed(HostPaths(self.etc, self.state))
        assert found is not None
        return found

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.place)): path.read_bytes() for path in self.place.rglob("*") if path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capsys)


needs_a_machine_id = pytest.mark.skipif(
    not HostPaths.machine_id.exists(), reason="this machine has no /etc/machine-id to be known by"
)


@needs_ssh
def test_one_command_makes_a_key_a_configuration_and_a_pinned_receiver(host: Host) -> None:
    said = host.install("--host", "us0", "--target", TARGET, "--keep", "5", "--host-key", RECEIVERS_KEY)

    assert "make the key etc/ebbtide/key" in said
    assert "into your crontab: " in said
    assert f"each night begins at {schedule.clock(host.recorded().minute or 0)} by this host's clock" in said
    assert "ebbtide-agent check" in said.splitlines()[-1]
    assert stat.S_IMODE(host.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(host.key.parent.stat().st_mode) == stat.S_IMODE(host.state.stat().st_mode) == 0o700
    assert (host.etc / "ebbtide/known_hosts").read_text() == f"backup.example.org {RECEIVERS_KEY}\n"
    loaded = installation.configuration.load(HostPaths(host.etc, host.state))
    assert (loaded.host, str(loaded.target), loaded.keep, loaded.key) == ("us0", TARGET, 5, host.key)


@needs_ssh
def test_a_second_time_there_is_nothing_to_do_and_the_lines_are_the_same(host: Host) -> None:
    words = ("install", "--host", "us0", "--target", TARGET, "--host-key", RECEIVERS_KEY, "--window", "22:00-04:00")
    _, first_lines, _ = host.told(*words)
    before = host.files()

    _, lines, said = host.told(*words)
    _, without_a_word, _ = host.told("install")

    assert "all is as it should be" in said
    assert host.files() == before
    assert first_lines == lines == without_a_word != ""


@needs_ssh
def test_a_dry_run_shows_every_step_and_takes_none(host: Host) -> None:
    said = host.install("--host", "us0", "--target", TARGET, "--dry-run")

    assert "would make the key etc/ebbtide/key" in said
    assert "would write etc/backup_config" in said
    assert said.endswith("what is still missing: ebbtide-agent check --etc etc --state state\n")
    assert list(host.place.iterdir()) == []
    host.state.mkdir()
    host.install("--host", "us0", "--target", TARGET, "--dry-run")
    assert list(host.state.iterdir()) == []


@needs_ssh
def test_places_that_are_told_from_where_one_stands_are_kept_whole(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(host.place)
    host.places = ["--etc", "etc", "--state", "state"]

    host.install("--host", "us0", "--target", TARGET)

    assert f"KEY={host.key}\n" in (host.etc / "backup_config").read_text()


@pytest.mark.parametrize("word", ["--etc", "--state"])
def test_a_place_that_ssh_or_cron_would_read_as_something_else_is_refused_by_its_name(host: Host, word: str) -> None:
    with pytest.raises(SystemExit) as refused:
        host.told("install", "--target", TARGET, word, f"{host.place}/50%")

    assert refused.value.code == 2
    assert f"argument {word}: '{host.place}/50%' has a %" in host.capture.readouterr().err


@needs_ssh
def test_programs_are_told_the_same_as_people(host: Host) -> None:
    words = ("install", "--host", "us0", "--target", TARGET)

    *_, said = host.told(*words, "--dry-run")
    _, before, _ = host.told(*words, "--dry-run", "--json")
    _, told, _ = host.told(*words, "--json")
    _, lines, _ = host.told("install")

    shown, done = json.loads(before), json.loads(told)
    assert [f"ebbtide: would {step}".replace(f"{host.place}/", "") for step in shown["steps"]] == said.splitlines()[
        : -1 - len(shown["notes"])
    ]
    assert (shown["done"], shown["lines"], done["done"], done["lines"]) == (False, "", True, lines)
    assert done["steps"] == shown["steps"] and any("no host key is pinned" in note for note in done["notes"])


@needs_ssh
def test_programs_are_told_what_is_removed_and_what_stays(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)

    asked = host.told("uninstall", "--json")
    removed = host.told("uninstall", "--yes", "--json")
    nothing = host.told("uninstall", "--yes", "--json")

    shown, done = json.loads(asked[1]), json.loads(removed[1])
    assert (asked[0], removed[0], nothing[0]) == (Refused.exit_code, 0, 0)
    assert (shown["done"], done["done"]) == (False, True)
    assert f"remove {host.state}/installed.json" in shown["steps"] and {*shown["steps"]} <= {*done["steps"]}
    assert f"{host.etc}/backup_config; --purge removes it, too" in done["stays"]
    assert json.loads(nothing[1])["steps"] == []


@needs_ssh
def test_what_the_operator_wrote_is_never_written_over(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    before = host.files()

    code, _, said = host.told("install", "--host", "us1", "--target", "receiver://other.example.org", "--keep", "9")

    assert code == ConfigError.exit_code
    assert [line.partition(";")[0] for line in said.splitlines()] == [
        "ebbtide: etc/backup_config: HOST is us0, and install was told us1",
        f"ebbtide: etc/backup_config: TARGET is {TARGET}, and install was told receiver://other.example.org",
        "ebbtide: etc/backup_config: KEEP is 7, and install was told 9",
    ]
    assert host.files() == before


def test_what_makes_no_configuration_is_told_before_anything_is_done(host: Host) -> None:
    code, _, said = host.told("install", "--host", "us 0", "--target", "rsync://x", "--keep", "0")

    assert code == ConfigError.exit_code
    assert [line.partition(" is ")[0] for line in said.splitlines()] == [
        f"ebbtide: what install was told: {key}" for key in ("HOST", "TARGET", "KEEP")
    ]
    assert list(host.place.iterdir()) == []


def test_a_name_that_no_policy_can_have_is_refused(host: Host) -> None:
    code, _, said = host.told("install", "--host", "US0", "--target", TARGET)

    assert (code, "small letters" in said) == (ConfigError.exit_code, True)


@needs_ssh
def test_another_host_key_under_the_receivers_name_is_not_pinned_beside_the_first(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET, "--host-key", RECEIVERS_KEY)

    code, _, said = host.told("install", "--host-key", ANOTHER_KEY)

    assert (code, "remove that line first" in said) == (ConfigError.exit_code, True)
    assert (host.etc / "ebbtide/known_hosts").read_text() == f"backup.example.org {RECEIVERS_KEY}\n"


@needs_ssh
def test_without_a_pinned_host_key_it_says_that_nothing_will_be_sent(host: Host) -> None:
    assert "no host key is pinned for backup.example.org" in host.install("--host", "us0", "--target", TARGET)


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "backup.example.org ssh-ed25519 AAAA", "ssh-ed25519 AAAA\nssh-rsa A"]
)
def test_what_is_no_public_key_is_not_pinned(host: Host, text: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        host.told("install", "--host", "us0", "--target", TARGET, "--host-key", text)


def test_a_directory_of_its_own_takes_no_key(host: Host) -> None:
    code, lines, said = host.told("install", "--host", "us0", "--target", "/backup")

    assert (code, lines) == (0, "")
    assert "no host key" not in said
    assert sorted(host.files()) == ["etc/backup_config", "state/installed.json"]


@needs_ssh
def test_a_machine_that_is_not_ours_gets_the_key_as_its_sshd_reads_it(host: Host) -> None:
    _, lines, _ = host.told("install", "--host", "us0", "--target", "ssh://u1@far.example.org/backup")

    assert lines == f"# Into .ssh/authorized_keys of u1@far.example.org:\n{keys.public(host.key)} us0\n"


@needs_ssh
def test_a_key_that_is_rotated_is_one_of_two_and_the_first_one_stays(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    first = host.key.read_bytes()

    host.install("--rotate-key")
    _, lines, said = host.told("install", "--rotate-key")

    following = host.key.with_name("key.next")
    assert host.key.read_bytes() == first
    assert "all is as it should be" in said
    assert tomllib.loads(lines)["host"]["us0"]["keys"] == [
        f"{keys.public(host.key)} us0",
        f"{keys.public(following)} us0",
    ]


@needs_ssh
def test_a_host_that_is_installed_anew_is_told_the_same_id(host: Host) -> None:
    _, first, _ = host.told("install", "--host", "us0", "--target", TARGET)
    shutil.rmtree(host.etc)
    shutil.rmtree(host.state)

    _, anew, _ = host.told("install", "--host", "us0", "--target", TARGET)

    assert tomllib.loads(first)["host"]["us0"]["id"] == tomllib.loads(anew)["host"]["us0"]["id"]
    assert first != anew


@needs_ssh
@needs_a_machine_id
@pytest.mark.fault("O6")
def test_a_copy_becomes_a_host_of_its_own_with_another_key(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    with (host.etc / "backup_config").open("a") as config:
        config.write("BANDWIDTH=2m\n")
    (host.state / "index").write_text("what us0's tree was")
    original = host.key.read_bytes()
    host.becomes_another_machine()

    refused, _, why = host.told("install")
    said = host.install("--new-identity", "--host", "us1")

    assert (refused, "this is not the machine that was enrolled as us0" in why) == (Refused.exit_code, True)
    assert "remove etc/ebbtide/key (it is the other host's)" in said
    assert host.key.read_bytes() != original
    assert not (host.state / "index").exists()
    text = (host.etc / "backup_config").read_text()
    assert "HOST=us1\n" in text
    assert "BANDWIDTH=2m\n" in text
    assert "all is as it should be" in host.install()


@needs_ssh
@needs_a_machine_id
def test_a_copy_that_failed_to_become_a_host_of_its_own_stays_refused_and_can_try_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.install("--host", "us0", "--target", TARGET)
    host.becomes_another_machine()
    (host.place / "programs").mkdir()
    (host.place / "programs/rm").symlink_to(shutil.which("rm") or "/bin/rm")

    with monkeypatch.context() as without_ssh:
        without_ssh.setenv("PATH", str(host.place / "programs"))
        failed, _, why = host.told("install", "--new-identity", "--host", "us1")
    refused, _, _ = host.told("run")
    host.install("--new-identity", "--host", "us1")

    assert (failed, "ssh-keygen" in why) == (PermanentError.exit_code, True)
    assert refused == Refused.exit_code
    assert "HOST=us1\n" in (host.etc / "backup_config").read_text()


@needs_ssh
@needs_a_machine_id
def test_a_host_that_moved_keeps_its_name_and_its_key(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    original = host.key.read_bytes()
    host.becomes_another_machine()

    host.install("--same-host")

    assert host.key.read_bytes() == original
    assert "all is as it should be" in host.install()


@needs_ssh
@needs_a_machine_id
def test_the_original_is_not_taken_for_a_copy(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    before = host.files()

    code, _, _ = host.told("install", "--new-identity", "--host", "us1")

    assert code == Refused.exit_code
    assert host.files() == before


@needs_ssh
def test_uninstall_shows_first_and_leaves_configuration_and_key(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    before = host.files()

    code, _, shown = host.told("uninstall")
    assert (code, host.files()) == (Refused.exit_code, before)
    assert "would remove state/installed.json" in shown
    assert "would stay: etc/backup_config; --purge removes it, too" in shown
    assert host.told("uninstall", "--dry-run") == (0, "", shown.replace(f"{NOTHING_REMOVED}\n", ""))
    host.told("uninstall", "--yes")

    assert not host.state.exists()
    assert sorted(host.files()) == ["etc/backup_config", "etc/ebbtide/key", "etc/ebbtide/key.pub"]


@needs_ssh
def test_purged_all_is_gone_but_what_others_made(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET, "--host-key", RECEIVERS_KEY)
    host.install("--rotate-key")
    backup = host.state / "my-backups/us0"
    backup.mkdir(parents=True)
    (backup / "file").write_text("of a backup\n")
    (host.state / "dumps").mkdir()
    (host.state / "volume").mkdir()
    (host.state / "volume/tree").mkdir()
    (host.etc / "backup_exclude").write_text("/srv/cache\n")

    _, _, said = host.told("uninstall", "--purge", "--yes")

    stays = [line.removeprefix("ebbtide: stays: ") for line in said.splitlines() if "stays: " in line]
    assert stays == [
        "etc/backup_exclude, which is the operator's",
        "state/my-backups, which is not the agent's",
        "state/volume, which is not the agent's",
        f"the program, {Path(sys.argv[0]).resolve()}",
        f"the backups of us0 at {TARGET}, and its place in the policy, which is the operator's to end",
    ]
    assert sorted(host.files()) == ["etc/backup_exclude", "state/my-backups/us0/file"]
    assert (host.state / "volume/tree").is_dir()
    assert not (host.state / "dumps").exists()


def test_places_of_ones_own_are_gone_with_what_was_in_them(host: Host) -> None:
    host.install("--host", "us0", "--target", str(host.place / "backup"))

    host.told("uninstall", "--purge", "--yes")

    assert list(host.place.iterdir()) == []


@needs_ssh
def test_nothing_is_removed_under_a_night_that_is_under_way(host: Host) -> None:
    host.install("--host", "us0", "--target", TARGET)
    before = set(host.files())

    with locked(host.state / "lock"):
        code, _, said = host.told("uninstall", "--yes")

    assert (code, "another backup" in said) == (Refused.exit_code, True)
    assert set(host.files()) == before | {"state/lock"}


def test_where_nothing_is_installed_there_is_nothing_to_remove(host: Host) -> None:
    assert host.told("uninstall", "--yes") == (0, "", "ebbtide: nothing is installed here\n")


def test_all_that_the_agent_keeps_is_known_to_whoever_removes_it(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path / "etc", tmp_path / "state")

    each = [getattr(paths, name) for name, value in vars(HostPaths).items() if isinstance(value, property)]
    below = {path for path in each if isinstance(path, Path) and paths.state in path.parents}

    assert paths.lock in below
    assert below == {*paths.kept, *paths.lent}
    assert not set(paths.kept) & set(paths.lent)


@pytest.mark.skipif(os.geteuid() == 0, reason="only who is not root may not")
def test_without_root_it_says_what_it_takes_and_how_to_do_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--target", TARGET]) == PermanentError.exit_code
    assert "--etc ~/.config/ebbtide" in capsys.readouterr().err


# -- what starts it ----------------------------------------------------------------------------------------------------


def a_site(place: Path, has_systemd: bool) -> Site:
    """The system's own installation, its files at `place`, of a program that only root may change."""
    program = Path(shutil.which("true") or "/bin/true").resolve()
    return Site(HostPaths(place, place / "state"), program, "us0", True, has_systemd)


needs_roots_program = pytest.mark.skipif(
    Path("/usr/bin").stat().st_uid != 0, reason="/usr/bin is not root's here, as in a user namespace"
)


def starting_steps(site: Site, minute: int) -> list[str]:
    return [str(step).replace(f"{site.paths.etc}/", "") for step in starting.starting(site, minute, [])]


@needs_roots_program
def test_systemd_is_told_to_start_it_where_systemd_is_in_charge(tmp_path: Path) -> None:
    site = a_site(tmp_path, has_systemd=True)
    site.paths.cron.parent.mkdir()
    site.paths.cron.write_text("of the time before\n")

    assert starting_steps(site, 150) == [
        "remove cron.d/ebbtide-agent (systemd starts it now)",
        "write systemd/system/ebbtide-agent.timer",
        "write systemd/system/ebbtide-agent.service",
        "systemctl daemon-reload",
        "systemctl enable --now ebbtide-agent.timer",
    ]


@needs_roots_program
def test_another_window_moves_the_timer_without_catching_up_on_today(tmp_path: Path) -> None:
    site = a_site(tmp_path, has_systemd=True)
    steps.walk([step for step in starting.starting(site, 150, []) if isinstance(step, steps.WriteFile)], print, False)
    wanted = site.paths.timer.parent / "timers.target.wants"
    wanted.mkdir()
    (wanted / "ebbtide-agent.timer").symlink_to(site.paths.timer)

    assert starting_steps(site, 150) == []
    assert starting_steps(site, 151) == [
        "systemctl stop ebbtide-agent.timer",
        "write systemd/system/ebbtide-agent.timer (what is there differs)",
        "systemctl daemon-reload",
        "systemctl enable --now ebbtide-agent.timer",
    ]


@needs_roots_program
def test_cron_is_told_where_it_is_not(tmp_path: Path) -> None:
    site = a_site(tmp_path, has_systemd=False)
    site.paths.cron.parent.mkdir()

    assert starting_steps(site, 150) == ["write cron.d/ebbtide-agent"]


@needs_roots_program
def test_where_neither_is_it_says_so(tmp_path: Path) -> None:
    notes: list[str] = []

    assert list(starting.starting(a_site(tmp_path, has_systemd=False), 150, notes)) == []
    assert "nothing starts it" in notes[0]


def test_root_is_not_made_to_start_what_others_may_change(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    site = replace(a_site(tmp_path, has_systemd=True), program=program)

    with pytest.raises(PermanentError, match="others may change"):
        list(starting.starting(site, 150, []))


def test_an_id_is_four_letters_or_digits_whatever_the_name() -> None:
    ids = [enrolment.suggested_id(name) for name in ("us0", "u", "us0.example.org", "web-frontend-01", "0")]

    assert all(re.fullmatch("[a-z0-9]{4}", each) for each in ids)
    assert len(set(ids)) == len(ids)
