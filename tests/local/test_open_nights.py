"""Files back, on real parts: a night, a mistake, `ebbtide open`, another night beside it, the agent's `restore`."""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from enclosed import in_an_enclosure

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import RunState
from ebbtide_console.cli import openings
from ebbtide_console.cli.main import main
from ebbtide_console.sandbox.cloud import Cloud, running
from ebbtide_console.sandbox.enrol import Host
from ebbtide_console.sandbox.night import back_up
from ebbtide_console.sandbox.trees import Source
from tests.local.test_second_region import a_plain_host, tell
from tests.local.test_whole_nights import traces_of

THE_FILE = "srv/notes.txt"
WHAT_WAS_SAVED = "what was true last night\n"
AS_IN_THE_EXAMPLE = json.loads(Path("tests/contract/wire/opened-recovery.json").read_text())


def on_the_host(cloud: Cloud, host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    """The agent's command line on the host, where cron runs it, too."""
    agent = (sys.executable, str(cloud.agent), *words, "--etc", str(host.etc), "--state", str(host.state))
    command = cloud.sandbox.substrate.host_command(host.name, agent)
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def another_host(place: Path) -> Host:
    (place / "eu0").mkdir()
    (place / "eu0/hostname").write_text("eu0\n")
    return Host(place / "hosts/eu0", Source("eu0", place / "eu0", "a tree", whole_system=False))


def made_for_recoveries(cloud: Cloud) -> list[str]:
    """Machines and volumes that are there and were made for one."""
    world, ours = cloud.stack.world, {tags.ROLE: tags.Role.RECOVERY.value}
    standing = [machine.id for machine in world.machines.find(ours) if not machine.is_gone]
    return [*standing, *(volume.id for volume in world.volumes.find_volumes(ours))]


def the_word_of_its_machine(cloud: Cloud) -> dict[str, Any]:
    (opening,) = cloud.stack.world.catalog.find_recoveries("us0a")
    return dict(json.loads(cloud.stack.world.archive.get(wire.recovery_opened_key(opening.id))))


@in_an_enclosure
def test_a_host_gets_a_file_back_from_an_opened_point_while_a_night_goes_on_beside_it_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openings, "LOOK_EVERY_SECONDS", 0.2)
    host, stranger = a_plain_host(tmp_path), another_host(tmp_path)
    wanted = host.source.root / THE_FILE
    wanted.parent.mkdir(exist_ok=True)
    wanted.write_text(WHAT_WAS_SAVED)
    with running(tmp_path / "state", 0, tell) as cloud:
        back_up(cloud, [host, stranger], tell)
        wanted.write_text("what a mistake has made of it\n")
        capsys.readouterr()

        opened = main(["open", "us0", "--for", "15m"])
        said = capsys.readouterr().out
        (address,) = re.findall(r"ebbtide-agent restore /etc/fstab --from (\S+)", said)
        beside = back_up(cloud, [host, stranger], tell)
        capsys.readouterr()
        searched = main(["find", wanted.name, "--host", "us0", "--json"])
        versions = json.loads(capsys.readouterr().out)["versions"]
        fetched = on_the_host(cloud, host, "restore", str(wanted), "--from", address, "--in-place", "--yes")
        back = wanted.read_text()
        refused = on_the_host(cloud, stranger, "list", "--from", address)
        stood, word = made_for_recoveries(cloud), the_word_of_its_machine(cloud)
        closed = main(["close", "us0"])
        quiet = cloud.sandbox.quiet()

        assert (opened, closed, quiet) == (0, 0, True), said
        newer, older = versions
        assert (searched, newer["first"]["run"]) == (0, str(beside.id))
        assert older["sha256"] == sha256(WHAT_WAS_SAVED.encode()).hexdigest()
        assert fetched.returncode == 0, fetched.stdout + fetched.stderr
        assert back == WHAT_WAS_SAVED
        assert refused.returncode != 0
        assert "Permission denied (publickey)" in refused.stderr, refused.stderr
        assert (beside.state, len(beside.hosts)) == (RunState.DONE, 2)
        assert cloud.stack.world.address.current(cloud.receiver_name) != address
        assert (len(stood), word.keys()) == (2, AS_IN_THE_EXAMPLE.keys())
        assert made_for_recoveries(cloud) == []
        assert (cloud.sandbox.work.faults, cloud.stack.region.functions.dead_letters) == ([], [])
    assert traces_of(tmp_path / "state") == []
