"""The change of the host's key: two are valid at a time, and the next one takes its place when it is let in."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Callable

from ebbtide_agent import keys
from ebbtide_agent.errors import AgentError
from ebbtide_agent.host.login import Login


def settle(login: Login, come_in: Callable[[Login], object], say: Callable[[str], None]) -> None:
    """Let the next key be the key, as soon as the far side takes it by itself. Until then both are offered.

    `come_in` raises an AgentError when it is not let in. For just after a hello: so a connection that does not come
    about is not what failed.
    """
    following = keys.next_of(login.key)
    if not following.exists():
        return
    try:
        # Through a connection of its own: one that is there already has been let in with either.
        come_in(replace(login, key=following, sockets=None))
    except AgentError as error:
        say(f"{login.name} does not take {following} yet, so {login.key} stays: {error}")
        return
    try:
        _promote(following, login.key)
    except OSError as error:
        say(f"{login.name} takes {following}, which cannot be moved to {login.key}: {error}")
        return
    say(f"{login.name} takes the new key: it is {login.key} now, and the old one can be taken out over there")


def _promote(following: Path, key: Path) -> None:
    following.replace(key)
    # Nothing of ours reads it; whoever looks at it should not see the old one.
    with contextlib.suppress(FileNotFoundError):
        keys.public_of(following).replace(keys.public_of(key))
