"""How the host's own disks are: what SMART says of each, its arrays, and its file systems that fill up."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebbtide_agent import procs
from ebbtide_agent.host.mounts import MOUNTS, ON_A_DISK, read_mounts
from ebbtide_agent.host.scripts import PATH
from ebbtide_agent.printable import printable
from ebbtide_agent.report import UNKNOWN, WARNING, WELL, Health

FULL_PERCENT = 90
# A disk that is dying takes its time to answer.
SMART_SECONDS = 60.0

# Sectors that could not be read and wait to be replaced, or could not be at all.
_BAD_SECTORS = {197: "pending", 198: "uncorrectable"}
_GOES_BAD = 1 << 3  # of smartctl's exit status: the disk is failing
_ARRAY = re.compile(r"^(?P<name>md\S*) : (?P<state>[a-z]+)\b")
_PARITY = re.compile(r" raid[456] ")
_MEMBERS = re.compile(r"\[(?P<wanted>\d+)/(?P<there>\d+)\] \[[U_]+\]")
_FAILED = re.compile(r"(\S+)\[\d+\](?:\([A-Z]\))*\(F\)")
_PROGRESS = re.compile(r"(?P<what>recovery|resync|reshape|check|repair) *= *(?P<percent>[0-9.]+%)")
_PROGRESS_LATER = re.compile(r"(?P<what>recovery|resync|reshape|check|repair) *= *(?P<why>PENDING|DELAYED|REMOTE)")
# What the firmware of a RAID controller keeps its arrays in: it does nothing by itself.
_CONTAINER = re.compile(r"super external:[^/]")


@dataclass(frozen=True)
class Sources:
    """Where to look."""

    smartctl: str = "smartctl"
    mdstat: Path = Path("/proc/mdstat")
    mounts: Path = MOUNTS
    blocks: Path = Path("/sys/block")


THIS_HOST = Sources()


def look(sources: Sources) -> Iterator[Health]:
    """All there is to say, well or not."""
    yield from disks(sources.smartctl)
    yield from arrays(_text_of(sources.mdstat), sources.blocks)
    yield from file_systems(read_mounts(sources.mounts))


def disks(smartctl: str) -> Iterator[Health]:
    """What SMART says. A machine without disks of its own, such as most virtual ones, has nothing to say."""
    scan = _smart(smartctl, "--scan")
    if scan is None:
        yield Health("disks", UNKNOWN, "smartctl is not installed (package smartmontools)")
        return
    for device in _parts(scan, "devices"):
        name, kind = str(device.get("name")), str(device.get("type"))
        # A disk that sleeps is not woken for this.
        said = _smart(smartctl, "--nocheck=standby", "-H", "-A", "-d", kind, name)
        yield disk(name, said or {})


def disk(name: str, said: Mapping[str, Any]) -> Health:
    """What smartctl's JSON says of one disk."""
    passed = _part(said, "smart_status").get("passed")
    status = _number(_part(said, "smartctl"), "exit_status")
    bad = [*_failing(passed, status), *_bad_attributes(said), *_bad_nvme(said), *_bad_scsi(said)]
    if bad:
        return Health(f"disk {name}", WARNING, ", ".join(bad))
    if passed is None:
        messages = sorted(_parts(_part(said, "smartctl"), "messages"), key=lambda each: each.get("severity") != "error")
        why = str(messages[0].get("string")) if messages else "it says nothing of its health"
        return Health(f"disk {name}", UNKNOWN, why)
    degrees = _part(said, "temperature").get("current")
    return Health(f"disk {name}", WELL, f"passed, {degrees} °C" if degrees is not None else "passed")


def arrays(mdstat: str, blocks: Path) -> Iterator[Health]:
    """What the kernel says of its arrays in /proc/mdstat: a paragraph for each; and what their last check has found."""
    for paragraph in re.split(r"\n(?=\S)", mdstat):
        first, _, rest = paragraph.partition("\n")
        array = _ARRAY.match(first)
        if array:
            found = _text_of(blocks / array["name"] / "md/mismatch_cnt").strip()
            yield _array(array["name"], array["state"], first, rest, int(found) if found.isdecimal() else 0)


def file_systems(mounts: Mapping[bytes, str]) -> Iterator[Health]:
    """Those of this host's disks that are nearly full, each once however often it is mounted."""
    seen = set()
    for point, kind in mounts.items():
        if kind not in ON_A_DISK:
            continue
        try:
            device, found = os.stat(point).st_dev, os.statvfs(point)  # noqa: PTH116 - a path of bytes
        except OSError:
            continue
        if device in seen or found.f_flag & os.ST_RDONLY:
            continue
        seen.add(device)
        full = max(
            _percent(found.f_blocks - found.f_bfree, found.f_bavail),
            _percent(found.f_files - found.f_ffree, found.f_favail),
        )
        if full >= FULL_PERCENT:
            yield Health(f"file system {printable(point)}", WARNING, f"{full} % full")


def _array(name: str, state: str, first: str, rest: str, mismatches: int) -> Health:
    said = [f"{member} failed" for member in _FAILED.findall(first)]
    members = _MEMBERS.search(rest)
    if members and int(members["there"]) < int(members["wanted"]):
        said.insert(0, f"degraded: {members['there']} of {members['wanted']} members are there")
    if state != "active" and not _CONTAINER.search(rest):
        said.insert(0, state)
    # Mirrors differ where a page was written while it was changed, swap for one: nothing reads that again.
    if mismatches and _PARITY.search(first):
        said.append(f"{mismatches} sectors do not fit their parity")
    is_well = not said
    progress = _PROGRESS.search(rest) or _PROGRESS_LATER.search(rest)
    if progress:
        said.append(f"{progress[1]} {progress[2].lower()}")
    return Health(f"array {name}", WELL if is_well else WARNING, ", ".join(said) or "all members are there")


def _failing(passed: object, status: int) -> Iterator[str]:
    if passed is False or status & _GOES_BAD:
        yield "SMART says that it is failing"


def _bad_attributes(said: Mapping[str, Any]) -> Iterator[str]:
    for attribute in _parts(_part(said, "ata_smart_attributes"), "table"):
        count, number = _number(_part(attribute, "raw"), "value"), _number(attribute, "id")
        if attribute.get("when_failed") == "now":
            yield f"{attribute.get('name')} is failing now"
        elif number in _BAD_SECTORS and count:
            yield f"{count} {_BAD_SECTORS[number]} sectors"


def _bad_nvme(said: Mapping[str, Any]) -> Iterator[str]:
    log = _part(said, "nvme_smart_health_information_log")
    spare, used = _number(log, "available_spare", 100), _number(log, "percentage_used")
    if warned := _number(log, "critical_warning"):
        yield f"critical warning 0x{warned:02x}"
    if spare < _number(log, "available_spare_threshold"):
        yield f"{spare} % of its spare left"
    if used >= 100:
        yield f"{used} % of its life used"
    if errors := _number(log, "media_errors"):
        yield f"{errors} media errors"


def _bad_scsi(said: Mapping[str, Any]) -> Iterator[str]:
    log = _part(said, "scsi_error_counter_log")
    for what in ("read", "write", "verify"):
        if errors := _number(_part(log, what), "total_uncorrected_errors"):
            yield f"{errors} uncorrected {what} errors"


def _smart(smartctl: str, *words: str) -> Mapping[str, Any] | None:
    """smartctl's JSON, whatever its exit code: that is made of what it found. None when there is no smartctl."""
    environment = {"PATH": PATH, "LC_ALL": "C"}
    ended = procs.run((smartctl, "--json", *words), timeout=SMART_SECONDS, environment=environment)
    if ended.exit_code == procs.NOT_FOUND:
        return None
    try:
        said = json.loads(ended.out)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def _parts(values: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    parts = values.get(name)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _number(values: Mapping[str, Any], name: str, default: int = 0) -> int:
    number = values.get(name)
    return number if isinstance(number, int) else default


def _percent(used: int, left: int) -> int:
    """As df counts: what is kept for root is neither used nor left. Without a limit nothing is used."""
    return -(-used * 100 // (used + left)) if used + left > 0 else 0


def _text_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
