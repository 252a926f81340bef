"""The host's ssh key: made once, and changed with two valid at a time."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Callable

from ebbtide_agent import procs
from ebbtide_agent.errors import AgentError, PermanentError
from ebbtide_agent.host import link
from ebbtide_agent.host.link import Login

_PUBLIC = re.compile(r"(?P<kind>(?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (?P<blob>[A-Za-z0-9+/]{40,}=*)(?: [ -~]*)?")


def make(path: Path, comment: str) -> None:
    """A new pair, without a passphrase: nobody is there at night to say one. Raises when there is one already."""
    if path.exists():
        raise PermanentError(f"{path} is there already; a key is never written over")
    procs.check(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)))


def public(path: Path) -> str:
    """The public half as a line of its kind and itself, from the private one: so the two cannot disagree."""
    return checked_public(procs.check(("ssh-keygen", "-y", "-P", "", "-f", str(path))).decode("ascii", "replace"))


def checked_public(text: str) -> str:
    """A public key without its comment. Raises ValueError when it is none."""
    match = _PUBLIC.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r:.60} is not a public key such as ssh-ed25519 AAAA…")
    return f"{match['kind']} {match['blob']}"


def settle(login: Login, say: Callable[[str], None]) -> None:
    """Let the next key be the key, as soon as the receiver takes it by itself. Until then both are offered.

    For just after a hello: so a connection that does not come about is not what failed.
    """
    following = link.next_key(login.key)
    if not following.exists():
        return
    try:
        # Through a connection of its own: one that is there already has been let in with either.
        link.ask(replace(login, key=following, sockets=None), "hello")
    except AgentError as error:
        say(f"the receiver does not take {following} yet, so {login.key} stays: {error}")
        return
    try:
        _promote(following, login.key)
    except OSError as error:
        say(f"the receiver takes {following}, which cannot be moved to {login.key}: {error}")
        return
    say(f"the receiver takes the new key: it is {login.key} now, and the old one can leave the policy")


def _promote(following: Path, key: Path) -> None:
    following.replace(key)
    # Nothing of ours reads it; whoever looks at it should not see the old one.
    with contextlib.suppress(FileNotFoundError):
        public_of(following).replace(public_of(key))


def public_of(key: Path) -> Path:
    """Where ssh-keygen leaves a key's public half."""
    return key.with_name(f"{key.name}.pub")
