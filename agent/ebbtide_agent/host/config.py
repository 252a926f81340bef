"""What a host's operator writes: /etc/backup_config, backup_include, backup_exclude, read and never executed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host import compression, target
from ebbtide_agent.host.filters import OWN, hidden_by
from ebbtide_agent.host.target import LABEL, Directory, Target, Volume
from ebbtide_agent.host.written import Value, in_order, read_patterns, read_values
from ebbtide_agent.others import find_store
from ebbtide_agent.paths import HostPaths

REQUIRED = ("HOST", "TARGET", "KEEP")
DEFAULTS = {
    "USER": "root",
    "KEY": "/etc/ebbtide/key",
    "KNOWN_HOSTS": "/etc/ebbtide/known_hosts",
    "ROOT": "/",
    "RSYNC": "rsync",
    "BANDWIDTH": "",
    "COMPRESS": compression.AUTO,
    "ONE_FILE_SYSTEM": "no",
    "WHOLE_SYSTEM": "yes",
    "SCRIPT_MINUTES": "60",
    "WAIT_MINUTES": "120",
    "SHRINK": "50",
    "REWRITE": "50",
    "CHECK": "30",
    "NICE": "10",
    "IONICE": "best-effort",
}

_NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_NICE = re.compile(r"1?[0-9]")
_IONICE = re.compile(r"idle|best-effort|no")
_COMPRESS = re.compile("|".join(compression.CHOICES))
# ssh puts something in the place of what begins with % or $, and has no sign for either that every version knows.
_FOR_SSH = re.compile(r'/[^%$"\\\x00-\x1f]*')
_BANDWIDTH = re.compile(r"([0-9]+(\.[0-9]+)?[kKmMgG]?)?")


@dataclass(frozen=True)
class Config:
    """A host's configuration. `bandwidth` is rsync's --bwlimit, empty for none; patterns are rsync's own.

    `shrink` and `rewrite` are how many percent of the tree may be lost or rewritten in a night, None for any number.
    `check_days` is in how many nights the content of every file is looked at once, None for never.
    `keep` is how many snapshots a directory of this host keeps; `user`, `key` and `known_hosts` are for ssh.
    `compress` is auto, yes or no.
    """

    host: str
    target: Target
    keep: int
    user: str
    key: Path
    known_hosts: Path
    root: Path
    rsync: str
    bandwidth: str
    one_file_system: bool
    whole_system: bool
    script_seconds: float
    wait_seconds: float
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shrink: int | None = 50
    rewrite: int | None = 50
    check_days: int | None = 30
    nice: int = 10
    ionice: str = "best-effort"
    compress: str = compression.AUTO


def load(paths: HostPaths) -> Config:
    """Read all files. Raises ConfigError with every fault in them, each with file and line."""
    faults: list[str] = []
    values = read_values(paths.config, REQUIRED, DEFAULTS, faults)
    include = read_patterns(paths.include, faults)
    exclude = read_patterns(paths.exclude, faults)
    config = _checked(values, tuple(include.values()), tuple(exclude.values()), faults)
    hidden = (pattern for place in _backups(config, paths) for pattern in Directory(place).hides(config.root))
    config = replace(config, exclude=(*config.exclude, *hidden, *_own(config, paths)))
    for where, place in include.items():
        _check_include(where, place, config, faults)
    if faults:
        raise ConfigError(in_order(faults))
    return config


def _backups(config: Config, paths: HostPaths) -> Iterator[Path]:
    """What is no part of this host's own backup: its volume, and what it keeps of others, who may keep this one."""
    if isinstance(config.target, Volume):
        yield paths.volume
    store = find_store(paths.peer)
    if store:
        yield store


def _own(config: Config, paths: HostPaths) -> Iterator[str]:
    """What the agent keeps for itself, if elsewhere than where it is never backed up of a whole system."""
    if config.whole_system and paths.state != HostPaths.state:
        for place in Directory(Path(os.path.abspath(paths.state))).seen_from(config.root):  # noqa: PTH100 - links stay
            yield from (f"{place}/{each}" for each in OWN)


def _check_include(where: str, place: str, config: Config, faults: list[str]) -> None:
    """A place that nothing can match would empty the backup, and rsync would call that a success."""
    if not place.startswith("/"):
        faults.append(f"{where}: {place!r:.80} does not start with /; expected a place such as /etc, as seen from ROOT")
    elif place.removesuffix("/") != (tidy := os.path.normpath("/" + place.lstrip("/"))).rstrip("/"):
        faults.append(f"{where}: {place!r:.80} is spelled so that rsync finds nothing there; expected {tidy!r:.80}")
    hiding = hidden_by(place) if config.whole_system else None
    if hiding is not None:
        faults.append(f"{where}: {place!r:.80} lies in {hiding}, which is never backed up of a whole system")
    backup = config.target.path if isinstance(config.target, Directory) else None
    if backup and backup in (seen := Path(f"{config.root}/{place}"), *seen.parents):
        faults.append(f"{where}: {place!r:.80} lies in TARGET {backup}, which is where the backup goes")


def _checked(
    values: Mapping[str, Value], include: tuple[str, ...], exclude: tuple[str, ...], faults: list[str]
) -> Config:
    def fault(key: str, expected: str) -> None:
        value = values[key]
        faults.append(f"{value.where}: {key} is {value.text!r:.80}, expected {expected}")

    def matching(key: str, pattern: re.Pattern[str], expected: str) -> str:
        if key in values and not pattern.fullmatch(values[key].text):
            fault(key, expected)
        return values[key].text if key in values else ""

    def number(key: str) -> int:
        if key in values and not re.fullmatch(r"[1-9][0-9]{0,6}", values[key].text):
            fault(key, "a whole number from 1")
            return 1
        return int(values[key].text) if key in values else 1

    def number_or_no(key: str, most: int, expected: str) -> int | None:
        text = values[key].text
        if text == "no":
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,3}", text) or int(text) > most:
            fault(key, expected)
            return None
        return int(text)

    def niceness() -> int:
        text = matching("NICE", _NICE, "a number from 0 to 19")
        return int(text) if _NICE.fullmatch(text) else 0

    def absolute(key: str) -> Path:
        if not values[key].text.startswith("/"):
            fault(key, "an absolute path")
        return Path(values[key].text)

    def for_ssh(key: str) -> Path:
        return Path(matching(key, _FOR_SSH, 'an absolute path without %, $, \\ and ", which mean something to ssh'))

    def where_to() -> Target:
        try:
            return target.parse(values["TARGET"].text if "TARGET" in values else "")
        except ValueError as expected:
            if "TARGET" in values:
                fault("TARGET", str(expected))
            return target.NOWHERE

    chosen, root = where_to(), absolute("ROOT")
    if isinstance(chosen, Directory) and chosen.path == root:
        fault("TARGET", "another directory than ROOT")
    for key in ("ONE_FILE_SYSTEM", "WHOLE_SYSTEM"):
        if values[key].text not in ("yes", "no"):
            fault(key, "yes or no")
    if not values["RSYNC"].text:
        fault("RSYNC", "the rsync program")
    return Config(
        host=matching("HOST", _NAME, "a host name"),
        target=chosen,
        keep=number("KEEP"),
        user=matching("USER", _USER, "a login name"),
        key=for_ssh("KEY"),
        known_hosts=for_ssh("KNOWN_HOSTS"),
        root=root,
        rsync=values["RSYNC"].text,
        bandwidth=matching("BANDWIDTH", _BANDWIDTH, "nothing, or a rate such as 800k or 2.5m (bytes a second)"),
        one_file_system=values["ONE_FILE_SYSTEM"].text == "yes",
        whole_system=values["WHOLE_SYSTEM"].text == "yes",
        script_seconds=number("SCRIPT_MINUTES") * 60.0,
        wait_seconds=number("WAIT_MINUTES") * 60.0,
        shrink=number_or_no("SHRINK", 99, "a percentage from 1 to 99, or no"),
        rewrite=number_or_no("REWRITE", 99, "a percentage from 1 to 99, or no"),
        check_days=number_or_no("CHECK", 999, "a number of days from 1 to 999, or no"),
        nice=niceness(),
        ionice=matching("IONICE", _IONICE, "idle, best-effort or no"),
        compress=matching("COMPRESS", _COMPRESS, "auto, yes or no"),
        include=include,
        exclude=(*exclude, *(chosen.hides(root) if isinstance(chosen, Directory) else ())),
    )
