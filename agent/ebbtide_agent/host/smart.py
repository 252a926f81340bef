"""What SMART says of a host's disks, and what of that is a warning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ebbtide_agent import procs
from ebbtide_agent.host.scripts import PATH
from ebbtide_agent.report import UNKNOWN, WARNING, WELL, Health

# A disk that is dying takes its time to answer.
PATIENCE_SECONDS = 60.0

# Sectors that could not be read and wait to be replaced, or could not be at all.
_BAD_SECTORS = {197: "pending", 198: "uncorrectable"}
_GOES_BAD = 1 << 3  # of smartctl's exit status: the disk is failing


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
    ended = procs.run((smartctl, "--json", *words), timeout=PATIENCE_SECONDS, environment=environment)
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
