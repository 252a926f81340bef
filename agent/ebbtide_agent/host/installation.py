"""What install has to do on this host, put down as steps; where all is as it should be there are none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ebbtide_agent import keys
from ebbtide_agent.errors import ConfigError, Refused
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host import identity, schedule, target
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.identity import Installed
from ebbtide_agent.host.starting import starting
from ebbtide_agent.host.target import BY_SSH
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.site import Site
from ebbtide_agent.steps import MakeKey, Step, WriteFile, directories, file, removals, to_bytes

DEFAULT_KEEP = "7"
OF_ANOTHER = "it is the other host's"

_CONFIG = """\
# Written by `ebbtide-agent install`. What else may stand here: ebbtide-agent run --help
HOST={host}
TARGET={target}
KEEP={keep}
"""


@dataclass(frozen=True)
class InstallRequest:
    """What install was told. None: as it is already, or as it is by default."""

    host: str | None = None
    target: str | None = None
    keep: str | None = None
    host_keys: tuple[str, ...] = ()
    window: str | None = None
    rotate_key: bool = False
    new_identity: bool = False
    same_host: bool = False


@dataclass(frozen=True)
class Plan:
    """The steps, what the host's configuration will be, and what the operator has to know or to do."""

    steps: tuple[Step, ...]
    config: Config
    notes: tuple[str, ...]


def plan(request: InstallRequest, site: Site) -> Plan:
    """Raises ConfigError with all that cannot be, and Refused when this is a copy of another host."""
    text, config = _settings(request, site)
    if config.host != config.host.lower():
        raise ConfigError((f"HOST is {config.host}, expected small letters: the policy knows no others",))
    marks = identity.marks_of(site.paths)
    installed = _installed(request, site, config)
    window = request.window or (installed.window if installed else "") or schedule.DEFAULT_WINDOW
    minute = schedule.minute_of(schedule.parse_window(window), config.host, marks.get("machine-id", ""))
    notes = [f"each night begins at {schedule.clock(minute)} by this host's clock"]
    # Name and record together and after the key: whatever fails before or after them, install can go on from there.
    steps = [
        *directories(site.paths.state),
        *_ssh(request, config, notes),
        *file(site.paths.config, text),
        *_record(request, site.paths, installed, Installed(marks, window, minute)),
        *starting(site, minute, notes),
    ]
    return Plan(tuple(steps), config, tuple(notes))


# -- the configuration -------------------------------------------------------------------------------------------------


def _settings(request: InstallRequest, site: Site) -> tuple[str, Config]:
    """The text of backup_config as it will be, and what it says."""
    paths = site.paths
    if not paths.config.exists():
        text = _new_config(request, site)
        return text, _said_by(text, paths, "what install was told")
    text = paths.config.read_bytes().decode("utf-8", "surrogateescape")
    config = configuration.load(paths)
    if not request.new_identity:
        _check_agrees(request, config, paths)
        return text, config
    _check_agrees(replace(request, host=None), config, paths)
    text = _renamed(text, config, request)
    return text, _said_by(text, paths, str(paths.config))


def _new_config(request: InstallRequest, site: Site) -> str:
    if request.target is None:
        raise ConfigError((f"{site.paths.config} does not exist yet: install needs --target",))
    host = request.host or site.name
    text = _CONFIG.format(host=host, target=request.target, keep=request.keep or DEFAULT_KEEP)
    if not site.is_the_systems:
        text += f"KEY={site.paths.secrets / 'key'}\nKNOWN_HOSTS={site.paths.secrets / 'known_hosts'}\n"
    return text


def _said_by(text: str, paths: HostPaths, origin: str) -> Config:
    """What a configuration that is not there yet would say. Raises ConfigError, its faults as those of `origin`."""
    with TemporaryDirectory(prefix="ebbtide-") as place:
        drafted = HostPaths(etc=Path(place), state=paths.state)
        drafted.config.write_bytes(to_bytes(text))
        try:
            config = configuration.load(drafted)
        except ConfigError as error:
            where = re.compile(rf"{re.escape(str(drafted.config))}(:\d+)?")
            raise ConfigError(tuple(where.sub(lambda _: origin, fault) for fault in error.faults)) from None
    return config


def _renamed(text: str, config: Config, request: InstallRequest) -> str:
    if request.host is None or request.host == config.host:
        raise ConfigError((f"--new-identity needs --host with a name of its own, other than {config.host}",))
    return re.sub(r"(?m)^[ \t]*HOST=.*$", f"HOST={request.host}", text)


def _check_agrees(request: InstallRequest, config: Config, paths: HostPaths) -> None:
    """Raises ConfigError when the file says something else; nobody's file is written over."""
    pairs = (
        ("HOST", config.host, request.host),
        ("TARGET", str(config.target), _tidy(request.target)),
        ("KEEP", str(config.keep), request.keep),
    )
    faults = tuple(
        f"{paths.config}: {key} is {stands}, and install was told {told}; nothing was changed: edit the file, or leave"
        " that out"
        for key, stands, told in pairs
        if told is not None and told != stands
    )
    if faults:
        raise ConfigError(faults)


def _tidy(told: str | None) -> str | None:
    """A target as a configuration would show it, if it is one."""
    try:
        return told and str(target.parse(told))
    except ValueError:
        return told


# -- the machine -------------------------------------------------------------------------------------------------------


def _installed(request: InstallRequest, site: Site, config: Config) -> Installed | None:
    """What an earlier install wrote down, if it was on this machine. Raises Refused when it was on another."""
    installed = identity.find_installed(site.paths)
    if installed and request.new_identity and not identity.differs(installed.marks, identity.marks_of(site.paths)):
        raise Refused(f"this is the machine that was installed, and no copy of it: {site.paths.config} names its host")
    if not (request.new_identity or request.same_host):
        identity.check(site.paths, config.host)
    return installed


def _record(request: InstallRequest, paths: HostPaths, earlier: Installed | None, now: Installed) -> Iterator[Step]:
    keeps = earlier is not None and not (request.new_identity or request.same_host)
    # What could be read once and cannot be now is still true.
    marks = {**(earlier.marks if earlier and keeps else {}), **now.marks}
    if request.new_identity:
        yield from removals((path for path in paths.kept if path != paths.installed), OF_ANOTHER)
    yield from file(paths.installed, identity.encode_installed(replace(now, marks=marks)).decode(), 0o600)


# -- keys --------------------------------------------------------------------------------------------------------------


def _ssh(request: InstallRequest, config: Config, notes: list[str]) -> Iterator[Step]:
    """Nothing for a target that is not reached by ssh."""
    if not isinstance(config.target, BY_SSH):
        return
    yield from directories(config.key.parent, config.known_hosts.parent)
    yield from _key(request, config)
    yield from _pin(request, config, config.target.name, notes)


def _key(request: InstallRequest, config: Config) -> Iterator[Step]:
    key, following = config.key, keys.next_of(config.key)
    if request.new_identity:
        places = (key, keys.public_of(key), following, keys.public_of(following))
        yield from removals(places, OF_ANOTHER)
    if request.new_identity or not key.exists():
        yield MakeKey(key, config.host)
    elif request.rotate_key and not following.exists():
        yield MakeKey(following, config.host)


def _pin(request: InstallRequest, config: Config, name: str, notes: list[str]) -> Iterator[Step]:
    """The far side's host key, behind the name that ssh is told to look for, whatever its port and address."""
    try:
        text = config.known_hosts.read_text(errors="surrogateescape")
    except FileNotFoundError:
        text = ""
    pinned = set(_pinned(text, name))
    wanted = [key for key in map(keys.checked_public, request.host_keys) if key not in pinned]
    if wanted and pinned:
        raise ConfigError(
            (
                f"{config.known_hosts} pins {', '.join(sorted(pinned))} for {name}, and install was told"
                f" {', '.join(wanted)}; if it really has another host key now, remove that line first",
            )
        )
    if wanted:
        yield WriteFile(config.known_hosts, "\n".join((*text.splitlines(), *(f"{name} {key}" for key in wanted), "")))
    elif not pinned:
        notes.append(
            f"no host key is pinned for {name}, so nothing will be sent there: give"
            ' --host-key "ssh-ed25519 AAAA…", which must come from whoever runs it'
        )


def _pinned(text: str, name: str) -> Iterator[str]:
    for line in text.splitlines():
        names, _, key = line.strip().partition(" ")
        if name in names.split(","):
            yield " ".join(key.split()[:2])
