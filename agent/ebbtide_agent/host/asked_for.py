"""The places that the operator asks for: whether anything of each travels tonight, by rsync's own word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial

from ebbtide_agent.host.config import Config
from ebbtide_agent.host.explain import Explainer
from ebbtide_agent.host.filters import EVERYTHING, leading_to
from ebbtide_agent.host.look import look
from ebbtide_agent.host.rsync_rules import finds
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.printable import printable

_WILD = re.compile(r"[*?\[\\]")


def missing_places(config: Config, paths: HostPaths) -> Iterator[str]:
    """What should be backed up and would not be: pushed all the same, it would be deleted from the backup.

    Raises PermanentError when rsync has to be asked and does not tell.
    """
    if not look("a look at ROOT", lambda: config.root.is_dir() and any(config.root.iterdir())):
        yield f"ROOT {config.root} is not a directory with anything in it; nothing was pushed"
        return
    for place in config.include or (EVERYTHING,):
        if not _travels(place, config):
            why = look(f"a look at {place}", partial(_why_not, place, config, paths))
            yield f"{place}, which is to be backed up, {why}; nothing was pushed"


def _travels(place: str, config: Config) -> bool:
    """What is in the place is not looked at."""
    chosen = leading_to(place, config.include, config.hidden, config.whole_system)
    return finds(config.rsync, config.root, chosen, config.one_file_system)


def _why_not(place: str, config: Config, paths: HostPaths) -> str:
    if place == EVERYTHING:
        first = os.fsencode(min(config.root.iterdir()))
        why = Explainer(config, paths).explain(first).verdict.why
        return f"is not: nothing in it travels ({printable(first)}: {why})"
    if _WILD.search(place):
        return f"is not there below {config.root}: nothing that travels matches it"
    answer = Explainer(config, paths).explain(os.fsencode(f"{config.root}/{place.rstrip('/')}"))
    if answer.is_there is False or answer.verdict.is_backed_up:
        return f"is not there below {config.root}"
    return f"is not: {answer.verdict.why}"
