"""Which machine this is: what install wrote down of it, and whether the machine that starts a night is still the same.

A copy of a server brings its agent along, with the key and the schedule: it would push itself over the original.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import MACHINE_DIGITS
from ebbtide_agent.shapes import decode, encode, field

_MARK = "ebbtide host "


@dataclass(frozen=True)
class Installed:
    """What install wrote down: the digest of each mark by which it knows the machine, the window it was told, and the
    minute of the day at which its nights begin. An earlier agent wrote down no minute.
    """

    marks: Mapping[str, str]
    window: str
    minute: int | None = None


def marks_of(paths: HostPaths) -> dict[str, str]:
    """What tells this machine from others: its installation's id and its hardware's, as far as they can be read.

    Digests: systemd asks that the id itself be shown to nobody.
    """
    read = {"machine-id": _read(paths.machine_id), "hardware": _read(paths.hardware_id)}
    return {name: sha256(f"{_MARK}{text}".encode()).hexdigest() for name, text in read.items() if text}


def machine_of(paths: HostPaths) -> str:
    """What a gate that takes this host's backup calls this machine: a digest of its marks, empty where it has none.

    And where this user may not read one: whoever may would say another name of the same machine.
    """
    marks = sorted(marks_of(paths).items())
    if not marks or find_closed(paths):
        return ""
    return sha256(repr(marks).encode()).hexdigest()[:MACHINE_DIGITS]


def find_closed(paths: HostPaths) -> Path | None:
    """A mark of this machine's that is there, and that this user may not read."""
    return next((path for path in (paths.machine_id, paths.hardware_id) if _is_closed(path)), None)


def find_instance(paths: HostPaths) -> str | None:
    """The EC2 instance this is, where the hardware says so: on Nitro it is the board's asset tag."""
    tag = _read(paths.asset_tag)
    return tag if re.fullmatch("i-[0-9a-f]{8,17}", tag) else None


def find_installed(paths: HostPaths) -> Installed | None:
    """None where install never was. Raises PermanentError when what it wrote cannot be read."""
    try:
        body = paths.installed.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _decoded(str(paths.installed), body)
    except PermanentError as error:
        raise PermanentError(f"{error}; remove it, and have it written anew: ebbtide-agent install") from error


def find_legible(paths: HostPaths) -> Installed | None:
    """The same, and None also when it cannot be read: of that the night itself tells, and `check`."""
    try:
        return find_installed(paths)
    except PermanentError:
        return None


def _decoded(what: str, body: bytes) -> Installed:
    values = decode(what, body)
    marks = field(what, values, "marks", dict)
    window = field(what, values, "window", str)
    minute = field(what, values, "minute", (int, type(None)))
    return Installed({str(name): str(mark) for name, mark in marks.items()}, window, minute)


def encode_installed(installed: Installed) -> bytes:
    return encode({"marks": dict(installed.marks), "window": installed.window, "minute": installed.minute})


def differs(recorded: Mapping[str, str], seen: Mapping[str, str]) -> tuple[str, ...]:
    """The marks that are others now. One that cannot be read, now or then, says nothing."""
    return tuple(sorted(name for name in recorded.keys() & seen.keys() if recorded[name] != seen[name]))


def check(paths: HostPaths, host: str) -> None:
    """Raises Refused on a machine that the agent was not installed on."""
    installed = find_installed(paths)
    strange = differs(installed.marks, marks_of(paths)) if installed else ()
    if strange:
        raise Refused(
            f"this is not the machine that was enrolled as {host}: its {' and its '.join(strange)} differs from what"
            f" {paths.installed} says\n"
            f"if it is a copy of {host}, enrol it as a host of its own: ebbtide-agent install --new-identity --host"
            " NAME\n"
            f"if {host} has moved to this machine, and the other one is gone: ebbtide-agent install --same-host"
        )


def _is_closed(path: Path) -> bool:
    try:
        with open(path, "rb"):
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _read(path: Path) -> str:
    """The text of a small file; empty when it is not there, not ours to read, or not written yet."""
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:
        return ""
    return "" if text == "uninitialized" else text
