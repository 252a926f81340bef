"""What disks, arrays and file systems say of themselves, and what of that is a warning.

This machine may have no disk with SMART and no arrays: their words are samples of smartctl's JSON and of /proc/mdstat.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbtide_agent.host import health
from ebbtide_agent.host.arrays import arrays
from ebbtide_agent.host.health import Sources, file_systems, read_health
from ebbtide_agent.host.smart import disk, disks
from ebbtide_agent.report import Health

MDSTAT = """\
Personalities : [raid1] [raid6] [raid5] [raid4] [linear] [raid0]
md0 : active raid1 sdb1[1] sda1[0]
      1048512 blocks super 1.2 [2/2] [UU]

md1 : active raid1 sdb2[1] sda2[0](F)
      976630336 blocks super 1.2 [2/1] [_U]
      bitmap: 3/8 pages [12KB], 65536KB chunk

md2 : active raid5 sdd1[4] sdc1[2] sdb3[1] sda3[0]
      2929890816 blocks super 1.2 level 5, 512k chunk, algorithm 2 [4/3] [UUU_]
      [==>..................]  recovery = 12.6% (123456789/976630272) finish=127.5min speed=33440K/sec

md3 : inactive sde1[0](S)
      976630336 blocks super 1.2

md127 : active (auto-read-only) raid1 sdg1[1] sdf1[0]
      1953381440 blocks super 1.2 [2/2] [UU]
      \tresync=PENDING
      bitmap: 0/15 pages [0KB], 65536KB chunk

md_d4 : active raid0 sdi1[1] sdh1[0]
      1953260544 blocks super 1.2 512k chunks

md5 : active raid1 sdj1[0] sdk1[1]
      104320 blocks [2/2] [UU]
      [=========>...........]  check = 48.0% (50080/104320) finish=0.0min speed=50080K/sec

unused devices: <none>
"""


NO_BLOCKS = Path("/no/such/place")
SAMPLES = Path(__file__).parent / "health"


def an_ata_disk(passed: bool = True, **raw: int) -> dict[str, Any]:
    ids = {"reallocated": (5, "Reallocated_Sector_Ct"), "pending": (197, "Current_Pending_Sector")}
    ids["uncorrectable"] = (198, "Offline_Uncorrectable")
    table = [
        {"id": number, "name": name, "value": 100, "thresh": 10, "when_failed": "", "raw": {"value": raw.get(key, 0)}}
        for key, (number, name) in ids.items()
    ]
    return {
        "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
        "smart_status": {"passed": passed},
        "ata_smart_attributes": {"revision": 16, "table": table},
        "temperature": {"current": 34},
    }


def an_nvme_disk(**log: int) -> dict[str, Any]:
    well = {"critical_warning": 0, "available_spare": 100, "available_spare_threshold": 10, "percentage_used": 3}
    return {"smart_status": {"passed": True}, "nvme_smart_health_information_log": {**well, "media_errors": 0, **log}}


def test_each_array_is_told_as_the_kernel_sees_it() -> None:
    assert {each.what.split()[1]: (each.state, each.said) for each in arrays(MDSTAT, NO_BLOCKS)} == {
        "md0": ("well", "all members are there"),
        "md1": ("warning", "degraded: 1 of 2 members are there, sda2 failed"),
        "md2": ("warning", "degraded: 3 of 4 members are there, recovery 12.6%"),
        "md3": ("warning", "inactive"),
        "md127": ("well", "resync pending"),
        "md_d4": ("well", "all members are there"),
        "md5": ("well", "check 48.0%"),
    }


@pytest.mark.parametrize("text", ["", "Personalities : \nunused devices: <none>\n"])
def test_without_arrays_there_is_nothing_to_say(text: str) -> None:
    assert list(arrays(text, NO_BLOCKS)) == []


def samples(kind: str) -> list[str]:
    return sorted(path.name for path in SAMPLES.glob(f"*.{kind}"))


def expected(name: str) -> list[str]:
    """What a sample is to be told as: its first lines, behind a #."""
    return [line[2:] for line in (SAMPLES / name).read_text().splitlines() if line.startswith("# ")]


def content(name: str) -> str:
    lines = (SAMPLES / name).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# "))


@pytest.mark.parametrize("name", samples("mdstat"))
def test_what_kernels_write_of_arrays_is_told_as_it_is(name: str, tmp_path: Path) -> None:
    told = [f"{each.what}: {each.state}: {each.said}" for each in arrays(content(name), tmp_path)]

    assert told == expected(name)


@pytest.mark.parametrize(
    ("level", "found", "state", "words"),
    [
        ("raid5", "128\n", "warning", "128 sectors do not fit their parity"),
        ("raid6", "0\n", "well", "all members are there"),
        ("raid1", "128\n", "well", "all members are there"),
        ("raid5", "none\n", "well", "all members are there"),
        ("raid5", "", "well", "all members are there"),
    ],
)
def test_what_the_last_check_of_an_array_has_found_counts_where_there_is_parity(
    tmp_path: Path, level: str, found: str, state: str, words: str
) -> None:
    (tmp_path / "md0/md").mkdir(parents=True)
    (tmp_path / "md0/md/mismatch_cnt").write_text(found)
    mdstat = f"md0 : active {level} sdc1[2] sdb1[1] sda1[0]\n      2048 blocks super 1.2 [3/3] [UUU]\n"

    assert list(arrays(mdstat, tmp_path)) == [Health("array md0", state, words)]


@pytest.mark.parametrize("name", samples("smart"))
def test_what_smartctl_writes_of_disks_is_told_as_it_is(name: str) -> None:
    told = disk("/dev/sda", json.loads(content(name)))

    assert [f"{told.state}: {told.said}"] == expected(name)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = {
    "smart_status": ("passed",),
    "smartctl": ("exit_status", "messages"),
    "ata_smart_attributes": ("table",),
    "nvme_smart_health_information_log": ("critical_warning", "available_spare", "percentage_used", "media_errors"),
    "scsi_error_counter_log": ("read", "write"),
    "temperature": ("current",),
}
malformed = st.fixed_dictionaries(
    {},
    optional={
        part: anything | st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything))
        for part, names in PARTS.items()
    },
)


@given(malformed)
def test_whatever_a_disk_says_of_itself_breaks_nothing(said: dict[str, Any]) -> None:
    assert disk("/dev/sda", said).state in ("well", "warning", "unknown")


@given(st.text(st.sampled_from("md0 :active[]()/UF_\n12%=.recovyblksSup"), max_size=80))
def test_whatever_stands_in_mdstat_breaks_nothing(text: str) -> None:
    assert all(each.state in ("well", "warning") for each in arrays(f"md0 : active {text}", NO_BLOCKS))


@pytest.mark.parametrize("scan", ["[]", "null", '{"devices": null}', '{"devices": ["/dev/sda", 3]}', "{", "\xff"])
def test_a_list_of_disks_that_is_none_is_no_disks(tmp_path: Path, scan: str) -> None:
    program = tmp_path / "smartctl"
    program.write_text(f"#!/bin/sh\ncat <<'end'\n{scan}\nend\n")
    program.chmod(0o755)

    assert list(disks(str(program))) == []


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (an_ata_disk(), "well", "passed, 34 °C"),
        (an_ata_disk(reallocated=8), "well", "passed, 34 °C"),
        (an_ata_disk(passed=False), "warning", "SMART says that it is failing"),
        (an_ata_disk(pending=8, uncorrectable=2), "warning", "8 pending sectors, 2 uncorrectable sectors"),
        (an_nvme_disk(), "well", "passed"),
        (an_nvme_disk(critical_warning=4), "warning", "critical warning 0x04"),
        (an_nvme_disk(available_spare=9), "warning", "9 % of its spare left"),
        (an_nvme_disk(percentage_used=104, media_errors=7), "warning", "104 % of its life used, 7 media errors"),
        ({}, "unknown", "it says nothing of its health"),
        (
            {"smartctl": {"messages": [{"string": "Device is in STANDBY mode", "severity": "information"}]}},
            "unknown",
            "Device is in STANDBY mode",
        ),
    ],
)
def test_a_disk_is_what_smart_says_of_it(said: dict[str, Any], state: str, words: str) -> None:
    assert disk("/dev/sda", said) == Health("disk /dev/sda", state, words)


def test_an_attribute_that_is_failing_now_is_a_warning() -> None:
    said = an_ata_disk()
    said["ata_smart_attributes"]["table"][0]["when_failed"] = "now"

    assert disk("/dev/sda", said).said == "Reallocated_Sector_Ct is failing now"


def a_smartctl(tmp_path: Path, *said: dict[str, Any], exit_code: int = 0) -> str:
    """A program that answers --scan and then for each disk in turn."""
    found = [{"name": f"/dev/sd{'abc'[number]}", "type": "sat"} for number in range(len(said))]
    (tmp_path / "scan").write_text(json.dumps({"devices": found}))
    for device, each in zip(found, said, strict=True):
        (tmp_path / Path(device["name"]).name).write_text(json.dumps(each))
    program = tmp_path / "smartctl"
    answer = (
        f'case "$*" in *--scan*) cat {tmp_path}/scan ;; *) for last; do :; done; cat {tmp_path}/"${{last##*/}}" ;; esac'
    )
    program.write_text(f"#!/bin/sh\n{answer}\nexit {exit_code}\n")
    program.chmod(0o755)
    return str(program)


def test_every_disk_that_is_found_is_asked_whatever_the_exit_code_says(tmp_path: Path) -> None:
    program = a_smartctl(tmp_path, an_ata_disk(), an_ata_disk(passed=False), exit_code=8)

    assert [(each.what, each.state) for each in disks(program)] == [
        ("disk /dev/sda", "well"),
        ("disk /dev/sdb", "warning"),
    ]


def test_what_smartctl_cannot_tell_is_unknown_and_no_crash(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no JSON'\n")
    broken.chmod(0o755)

    assert [each.state for each in disks("/no/such/smartctl")] == ["unknown"]
    assert list(disks(str(broken))) == []


def test_a_file_system_is_told_once_when_it_is_as_full_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {os.fsencode(tmp_path): "ext4", b"/": "ext4", b"/proc": "proc", b"/no/such/place": "xfs"}
    writable = not os.statvfs(tmp_path).f_flag & os.ST_RDONLY

    monkeypatch.setattr(health, "FULL_PERCENT", 0)
    told = [each.what for each in file_systems(mounts)]
    monkeypatch.setattr(health, "FULL_PERCENT", 101)
    untold = list(file_systems(mounts))

    assert (f"file system {tmp_path}" in told) == writable
    assert not any("proc" in each or "no/such" in each for each in told)
    assert len(told) == len({Path(each.split(" ", 2)[2]).stat().st_dev for each in told})
    assert untold == []


def test_this_machine_can_be_looked_at() -> None:
    assert all(each.state in ("well", "warning", "unknown") for each in read_health(Sources()))
