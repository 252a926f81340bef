"""Both substrates keep the same promises about disks and machines."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from enclosed import a_substrate, in_an_enclosure, processes_with, wait_until

from chalicelib.errors import PermanentError
from ebbtide_console.sandbox.geography import FIRST
from ebbtide_console.sandbox.substrate import Substrate

Behaviour = Callable[[Substrate], None]

# What a machine does first in all of these: find its volume, and make it usable at $D (a device is mounted).
FIND_VOLUME = """
R=${EBBTIDE_ROOT:-}
LINK=$R/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a
n=0; until [ -e "$LINK" ] || [ $n = 500 ]; do sleep 0.02; n=$((n + 1)); done
if [ -d "$LINK" ]; then D=$(readlink -f "$LINK"); else
    D=$R/mnt; blkid -p "$LINK" >/dev/null || mkfs.ext4 -q "$LINK"; mount "$LINK" "$D"
fi
"""


def the_log(substrate: Substrate, machine_id: str = "i-0a") -> str:
    log = substrate.machine_log(machine_id)
    return log.read_text() if log.exists() else ""


def ran_to_its_end(substrate: Substrate, user_data: str, volume_id: str | None = None) -> str:
    """Run a machine until it powers itself off and return what it printed."""
    gone: list[str] = []
    log = substrate.machine_log("i-0a")
    log.unlink(missing_ok=True)
    substrate.start_machine("i-0a", substrate.assign_address(), FIRST, user_data, gone.append)
    if volume_id is not None:
        substrate.attach("i-0a", volume_id)
    wait_until(lambda: gone, "powering off")
    if volume_id is not None:
        substrate.detach("i-0a", volume_id)
    assert gone == ["i-0a"]
    return log.read_text()


def user_data_runs_and_power_off_ends_the_machine(substrate: Substrate) -> None:
    said = ran_to_its_end(substrate, "echo hello from $0; poweroff; while sleep 600; do :; done")

    assert "hello from" in said


def a_machine_outlives_its_user_data_until_it_is_stopped(substrate: Substrate) -> None:
    word = uuid.uuid4().hex
    gone: list[str] = []
    script = f"(setsid sh -c 'sleep 600; echo {word}' &) ; sh -c 'sleep 600; echo {word}' & echo done"
    substrate.start_machine("i-0a", substrate.assign_address(), FIRST, script, gone.append)
    wait_until(lambda: "done" in the_log(substrate) and len(processes_with(word)) >= 2)
    assert gone == []

    substrate.stop_machine("i-0a")
    wait_until(lambda: gone)

    assert gone == ["i-0a"]
    assert processes_with(word) == []


def power_off_lets_processes_finish_their_work(substrate: Substrate) -> None:
    work = 'trap "sleep 0.3; echo released; exit" TERM; touch $HOME/up; while :; do sleep 0.1; done'

    said = ran_to_its_end(substrate, f"sh -c '{work}' & until [ -e ~/up ]; do sleep 0.02; done; poweroff")

    assert "released" in said


def a_snapshot_keeps_what_the_volume_held_then(substrate: Substrate) -> None:
    substrate.create_disk("vol-0a", 1, None)
    ran_to_its_end(substrate, f"{FIND_VOLUME} echo old >$D/page; sync; poweroff", "vol-0a")
    substrate.snapshot_disk("vol-0a", "snap-0a")
    ran_to_its_end(substrate, f"{FIND_VOLUME} echo new >$D/page; sync; poweroff", "vol-0a")
    now = ran_to_its_end(substrate, f"{FIND_VOLUME} echo it says $(cat $D/page); poweroff", "vol-0a")
    substrate.delete_disk("vol-0a")

    substrate.create_disk("vol-0a", 2, "snap-0a")
    restored = ran_to_its_end(substrate, f"{FIND_VOLUME} echo it says $(cat $D/page); poweroff", "vol-0a")

    assert "it says new" in now
    assert "it says old" in restored


def disks_come_and_go(substrate: Substrate) -> None:
    substrate.create_disk("vol-0a", 1, None)
    substrate.snapshot_disk("vol-0a", "snap-0a")
    assert substrate.has_disk("vol-0a") and substrate.has_disk("snap-0a")

    substrate.delete_disk("vol-0a")
    substrate.delete_disk("vol-0a")

    assert not substrate.has_disk("vol-0a")
    assert substrate.has_disk("snap-0a")


def a_copy_of_what_is_not_there_says_so_and_leaves_nothing(substrate: Substrate) -> None:
    with pytest.raises(PermanentError, match="vol-0f"):
        substrate.snapshot_disk("vol-0f", "snap-0a")

    assert not substrate.has_disk("snap-0a")


def attaching_to_a_machine_that_is_gone_says_so(substrate: Substrate) -> None:
    substrate.create_disk("vol-0a", 1, None)
    ran_to_its_end(substrate, "poweroff")

    with pytest.raises(PermanentError, match="i-0a is not running"):
        substrate.attach("i-0a", "vol-0a")


def a_machine_finds_the_sandbox_where_boto3_looks(substrate: Substrate) -> None:
    said = ran_to_its_end(
        substrate, "cat ~/.aws/config; env; python3 -c 'import boto3; print(\"has boto3\")'; poweroff"
    )

    assert f"endpoint_url = {substrate.machine_endpoint}\n" in said
    assert "has boto3" in said
    assert "AWS_" not in said.replace("AWS_ENDPOINT", "")


def closing_ends_machines_without_a_word(substrate: Substrate) -> None:
    word = uuid.uuid4().hex
    gone: list[str] = []
    substrate.start_machine("i-0a", substrate.assign_address(), FIRST, f"sh -c 'sleep 600; echo {word}'", gone.append)
    wait_until(lambda: processes_with(word))

    substrate.close()

    assert processes_with(word) == []
    assert gone == []


BEHAVIOURS = (
    user_data_runs_and_power_off_ends_the_machine,
    a_machine_outlives_its_user_data_until_it_is_stopped,
    power_off_lets_processes_finish_their_work,
    a_snapshot_keeps_what_the_volume_held_then,
    disks_come_and_go,
    a_copy_of_what_is_not_there_says_so_and_leaves_nothing,
    attaching_to_a_machine_that_is_gone_says_so,
    a_machine_finds_the_sandbox_where_boto3_looks,
    closing_ends_machines_without_a_word,
)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_directories(behaviour: Behaviour, tmp_path: Path) -> None:
    with a_substrate("degraded", tmp_path) as substrate:
        behaviour(substrate)


@in_an_enclosure
def test_namespaces(tmp_path: Path) -> None:
    for behaviour in BEHAVIOURS:
        with a_substrate("full", tmp_path / behaviour.__name__) as substrate:
            behaviour(substrate)
