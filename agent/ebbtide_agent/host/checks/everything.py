"""All checks, in the order of a night."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from ebbtide_agent.errors import AgentError, ConfigError
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host.checks import disks, far_side, keys, past, places, programs, schedule, scripts
from ebbtide_agent.host.checks.finding import Check, Finding, Scene, fault, ok
from ebbtide_agent.paths import HostPaths

CHECKS: tuple[Check, ...] = (
    schedule.is_started,
    past.is_the_same_machine,
    past.is_free,
    programs.are_new_enough,
    scripts.can_run,
    places.are_there,
    places.are_mounted,
    places.can_be_scanned,
    places.have_room,
    keys.is_ours_alone,
    keys.is_pinned,
    far_side.answers_as_it_should,
    disks.are_well,
    past.was_good,
    past.clock_is_right,
)


def check(paths: HostPaths, now: datetime, system: Path) -> Iterator[Finding]:
    """Every finding. With faults in the configuration, or where nobody answers, there is nothing else to look at."""
    try:
        config = configuration.load(paths)
    except ConfigError as error:
        yield from (fault(each, "correct it, and check again") for each in error.faults)
        return
    except AgentError as error:
        yield fault(str(error), "mend it, and check again")
        return
    yield ok(f"configuration: {config.host} is backed up to {config.target}")
    yield from (fault(each, "correct it, and check again") for each in config.doubts)
    yield from find(CHECKS, Scene(config, paths, now, system))


def find(looks: Iterable[Check], scene: Scene) -> Iterator[Finding]:
    """What all of them find, each thing once."""
    yield from dict.fromkeys(finding for look in looks for finding in _despite_errors(look, scene))


def _despite_errors(look: Check, scene: Scene) -> Iterator[Finding]:
    """What cannot even be looked at will not work tonight, and the rest is still worth a look."""
    try:
        yield from look(scene)
    except PermissionError as error:
        what = f"this user may not look at {os.fsdecode(error.filename or '?')}"
        yield fault(what, "check as who runs the agent: as root, or with --etc and --state of that user's own")
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        yield fault(f"{where}{error.strerror or error}", "mend it, and check again")
    except AgentError as error:
        yield fault(str(error), "mend it, and check again")
