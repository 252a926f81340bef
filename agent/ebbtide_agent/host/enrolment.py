"""What the operator adds to the policy, or to a far side's keys, for this host: ready to paste. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

_LINES = """\
# Into the policy, with {name} among the hosts of the receiver at {receiver}; then: ebbtide apply policy.toml
# The id is the host's for ever: a host that has one keeps it, and one that is taken is refused there.
# Or, if {receiver} is another server of yours, there: ebbtide-agent peer add {host} --id {id} {words} --at /srv/ebbtide
[host.{key}]
id   = "{id}"
keys = [{keys}]
"""

_VOLUME_LINES = """\
# Into the policy; then: ebbtide apply policy.toml
[host.{key}]
id          = "{id}"
target      = "volume"
instance_id = "{instance}"
"""


def policy_lines(host: str, receiver: str, keys: Sequence[str]) -> str:
    """The host's table in TOML. `keys` are public keys without comments; two while one follows the other."""
    quoted = ", ".join(f'"{key} {host}"' for key in keys)
    words = " ".join(f"--key '{key}'" for key in keys)
    names = {"name": f'"{host}"', "host": host, "receiver": receiver, "key": _table(host)}
    return _LINES.format(**names, id=suggested_id(host), keys=quoted, words=words)


def volume_lines(host: str, host_id: str, instance: str | None) -> str:
    """The host's table in TOML, when it has a volume of its own; an `instance` that is not known is left to fill in."""
    return _VOLUME_LINES.format(key=_table(host), id=host_id, instance=instance or "i-…")


def authorized_keys_lines(host: str, login: str, keys: Sequence[str]) -> str:
    """The host's keys for a machine that is not ours."""
    return "".join((f"# Into .ssh/authorized_keys of {login}:\n", *(f"{key} {host}\n" for key in keys)))


def _table(host: str) -> str:
    return f'"{host}"' if "." in host else host


def suggested_id(host: str) -> str:
    """Four of a-z and 0-9: how the host's name begins, and two drawn from all of it, so that few hosts share one.

    It follows from the name alone, so a host that is installed anew is told the same one.
    """
    letters = [letter for letter in host.partition(".")[0] if letter in _DIGITS]
    drawn = int.from_bytes(sha256(host.encode()).digest(), "big")
    digits = [_DIGITS[drawn // 36**place % 36] for place in range(4)]
    return "".join((*letters[:2], *digits))[:4]
