"""ssh keys: made once and never written over, and their public halves."""

from __future__ import annotations

import re
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError

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


def public_of(key: Path) -> Path:
    """Where ssh-keygen leaves a key's public half."""
    return key.with_name(f"{key.name}.pub")


def next_of(key: Path) -> Path:
    """Where the key lies that is to follow this one; the far side may take either meanwhile."""
    return key.with_name(f"{key.name}.next")
