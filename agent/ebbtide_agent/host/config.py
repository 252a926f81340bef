"""What a host's operator writes: /etc/backup_config, backup_include, backup_exclude, read and never executed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host import compression, target
from ebbtide_agent.host.config_keys import DEFAULTS, REQUIRED
from ebbtide_agent.host.filters import (
    LONGEST_PLACE_BYTES,
    OWN,
    argument_bytes,
    find_doubt,
    hidden_by,
    is_discarded,
    most_argument_bytes,
    rules,
)
from ebbtide_agent.host.look import look_first
from ebbtide_agent.host.mounts import MADE_UP, read_mounts
from ebbtide_agent.host.target import LABEL, Directory, Target, Volume
from ebbtide_agent.host.written import Value, in_order, read_patterns, read_values
from ebbtide_agent.others import find_store
from ebbtide_agent.paths import HostPaths

_NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_NUMBER = re.compile(r"[1-9][0-9]{0,6}")
_YES_OR_NO = re.compile(r"yes|no")
_ANYTHING = re.compile(r".+", re.DOTALL)
_ABSOLUTE = re.compile(r"/.*", re.DOTALL)
_NICE = re.compile(r"1?[0-9]")
_IONICE = re.compile(r"idle|best-effort|no")
_COMPRESS = re.compile("|".join(compression.CHOICES))
# ssh puts something in the place of what begins with % or $, and has no sign for either that every version knows.
_FOR_SSH = re.compile(r'/[^%$"\\\x00-\x1f]*')
_PATH_FOR_SSH = 'an absolute path without %, $, \\ and ", which mean something to ssh'
_BANDWIDTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([kKmMgG]?)")
# In bytes, by the letter; rsync takes no letter for k. Less than these it refuses, or takes for no limit, as it does 0.
_RATES = {"": 1 << 10, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LEAST_RATE = 512


@dataclass(frozen=True)
class Config:
    """A host's configuration. `bandwidth` is rsync's --bwlimit, empty for none; patterns are rsync's own.

    `shrink` and `rewrite` are how many percent of the tree may be lost or rewritten in a night, None for any number.
    `check_days` is in how many nights the content of every file is looked at once, None for never.
    `keep` is how many snapshots a directory of this host keeps; `user`, `key` and `known_hosts` are for ssh.
    `compress` is auto, yes or no. `doubts` are what is probably not as it is meant, each with file and line.
    `made_up` are patterns of what is mounted just now and no file system: nobody has chosen that it should not travel.
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
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    shrink: int | None
    rewrite: int | None
    check_days: int | None
    nice: int
    ionice: str
    compress: str
    doubts: tuple[str, ...] = ()
    made_up: tuple[str, ...] = ()

    @property
    def top(self) -> bytes:
        """ROOT as it comes before a slash and a path within it: with another slash the longest would be too long."""
        return os.fsencode(self.root).rstrip(b"/")

    @property
    def hidden(self) -> tuple[str, ...]:
        """All that keeps something from travelling tonight, but for what is built in."""
        return (*self.exclude, *self.made_up)


def load(paths: HostPaths) -> Config:
    """Read all files. Raises ConfigError with every fault in them, each with file and line; and Interfered when a place
    that they name does not answer."""
    return look_first(f"a look at the places that {paths.config} names", partial(_load, paths))


def _load(paths: HostPaths) -> Config:
    faults: list[str] = []
    values = read_values(paths.config, REQUIRED, DEFAULTS, faults)
    include = read_patterns(paths.include, faults)
    exclude = read_patterns(paths.exclude, faults)
    heard = tuple(pattern for pattern in exclude.values() if not is_discarded(pattern))
    config = _checked(_Values(values, faults), tuple(include.values()), heard)
    hidden = (pattern for place in _backups(config, paths) for pattern in Directory(place).hides(config.root))
    config = replace(config, exclude=(*config.exclude, *hidden, *_own(config, paths)), doubts=tuple(_doubts(exclude)))
    config = replace(config, made_up=tuple(_made_up(config)))
    for where, place in include.items():
        _check_include(where, place, config, faults)
    _check_sum(include, exclude, faults)
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
    """What the agent keeps for itself, wherever else that is, or a link leads to it, than what is built in."""
    if config.whole_system:
        for place in Directory(Path(os.path.abspath(paths.state))).seen_from(config.root):  # noqa: PTH100 - links stay
            if place != str(HostPaths.state):
                yield from (f"{place}/{each}" for each in OWN)


def _made_up(config: Config) -> Iterator[str]:
    """What a chroot has of the kernel's, for instance: what is built in knows the places of the system's own."""
    for point in _points_made_up() if config.whole_system else ():
        for place in Directory(point).seen_from(config.root):
            if hidden_by(f"{place}/x") is None:
                yield f"{place}/*"


def _points_made_up() -> tuple[Path, ...]:
    """None where nobody tells what is mounted, in a chroot without /proc for instance.

    What is listed need not show: there may be a disk mounted above it since, with a directory of that name.
    """
    try:
        mounts = read_mounts()
    except OSError:
        return ()
    points = (os.fsdecode(point) for point, kind in mounts.items() if kind in MADE_UP)
    return tuple(Path(point) for point in points if os.path.ismount(point))


def _check_include(where: str, place: str, config: Config, faults: list[str]) -> None:
    """A place that nothing can match would empty the backup, and rsync would call that a success."""
    if (length := len(os.fsencode(place))) > LONGEST_PLACE_BYTES:
        takes = f"rsync takes no place of more than {LONGEST_PLACE_BYTES}"
        faults.append(f"{where}: the line is {length} bytes long, and {takes}")
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


def _doubts(exclude: Mapping[str, str]) -> Iterator[str]:
    """Whoever has written a pattern that excludes nothing believes that it does; but not less is backed up for it."""
    for where, pattern in exclude.items():
        doubt = find_doubt(pattern)
        if doubt:
            yield f"{where}: {pattern!r:.80} {doubt}"


def _check_sum(include: Mapping[str, str], exclude: Mapping[str, str], faults: list[str]) -> None:
    """Where patterns come to be more than rsync can be given, every night would end."""
    of_excludes = ((where, rules((), (pattern,), whole_system=False)) for where, pattern in exclude.items())
    of_places = ((where, rules((place,), (), whole_system=False)) for where, place in include.items())
    most, taken = most_argument_bytes(), 0
    for where, chosen in (*of_excludes, *of_places):
        taken += argument_bytes(chosen)
        if taken > most:
            too_much = f"up to this line the patterns are more than rsync can be given, {most:,} bytes in all"
            faults.append(f"{where}: {too_much}; say it with fewer and shorter ones")
            return


@dataclass(frozen=True)
class _Values:
    """What is written, each checked as it is taken; `faults` gathers what is wrong. What is missing is one already."""

    written: Mapping[str, Value]
    faults: list[str]

    def text(self, key: str) -> str:
        return self.written[key].text if key in self.written else ""

    def fault(self, key: str, expected: str) -> None:
        if key in self.written:
            value = self.written[key]
            self.faults.append(f"{value.where}: {key} is {value.text!r:.80}, expected {expected}")

    def matching(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        if not pattern.fullmatch(self.text(key)):
            self.fault(key, expected)
        return self.text(key)

    def number(self, key: str) -> int:
        text = self.matching(key, _NUMBER, "a whole number from 1")
        return int(text) if _NUMBER.fullmatch(text) else 1

    def number_or_no(self, key: str, most: int, expected: str) -> int | None:
        text = self.text(key)
        if text == "no":
            return None
        if not _NUMBER.fullmatch(text) or int(text) > most:
            self.fault(key, expected)
            return None
        return int(text)

    def rate(self, key: str) -> str:
        text = self.text(key)
        found = _BANDWIDTH.fullmatch(text or "0")
        if not found or 0 < float(found[1]) * _RATES[found[2].lower()] < _LEAST_RATE:
            self.fault(key, f"nothing, or a rate such as 800k or 2.5m, at least {_LEAST_RATE} bytes a second")
        return text

    def is_yes(self, key: str) -> bool:
        return self.matching(key, _YES_OR_NO, "yes or no") == "yes"


def _checked(values: _Values, include: tuple[str, ...], exclude: tuple[str, ...]) -> Config:
    root = Path(values.matching("ROOT", _ABSOLUTE, "an absolute path"))
    chosen = _target(values, root)
    nice = values.matching("NICE", _NICE, "a number from 0 to 19")
    return Config(
        host=values.matching("HOST", _NAME, "a host name"),
        target=chosen,
        keep=values.number("KEEP"),
        user=values.matching("USER", _USER, "a login name"),
        key=Path(values.matching("KEY", _FOR_SSH, _PATH_FOR_SSH)),
        known_hosts=Path(values.matching("KNOWN_HOSTS", _FOR_SSH, _PATH_FOR_SSH)),
        root=root,
        rsync=values.matching("RSYNC", _ANYTHING, "the rsync program"),
        bandwidth=values.rate("BANDWIDTH"),
        one_file_system=values.is_yes("ONE_FILE_SYSTEM"),
        whole_system=values.is_yes("WHOLE_SYSTEM"),
        script_seconds=values.number("SCRIPT_MINUTES") * 60.0,
        wait_seconds=values.number("WAIT_MINUTES") * 60.0,
        include=include,
        exclude=(*exclude, *(chosen.hides(root) if isinstance(chosen, Directory) else ())),
        shrink=values.number_or_no("SHRINK", 99, "a percentage from 1 to 99, or no"),
        rewrite=values.number_or_no("REWRITE", 99, "a percentage from 1 to 99, or no"),
        check_days=values.number_or_no("CHECK", 999, "a number of days from 1 to 999, or no"),
        nice=int(nice) if _NICE.fullmatch(nice) else 0,
        ionice=values.matching("IONICE", _IONICE, "idle, best-effort or no"),
        compress=values.matching("COMPRESS", _COMPRESS, "auto, yes or no"),
    )


def _target(values: _Values, root: Path) -> Target:
    try:
        chosen = target.parse(values.text("TARGET"))
    except ValueError as expected:
        values.fault("TARGET", str(expected))
        return target.NOWHERE
    if isinstance(chosen, Directory) and chosen.path == root:
        values.fault("TARGET", "another directory than ROOT")
    return chosen
