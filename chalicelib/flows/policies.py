"""The policy by its version, the one in force, and what all versions together say."""

import re
from functools import lru_cache

from chalicelib.core.policy import Policy
from chalicelib.core.policy_file import ids_named_in, parse
from chalicelib.errors import PermanentError
from chalicelib.ports import Archive, World

_PREFIX = "policies/"
_KEY = re.compile(rf"{_PREFIX}([0-9]{{6}})\.toml")
# Of ten thousand hosts it takes half a second, and one invocation may ask for it at every step: the policy in force,
# and those that open runs keep.
_parse_once = lru_cache(maxsize=4)(parse)


def policy_key(version: str) -> str:
    return f"{_PREFIX}{version}.toml"


def find_versions(archive: Archive) -> list[str]:
    """Every archived version, the oldest first. What else lies beside them is not ours."""
    return [match[1] for key in archive.list(_PREFIX) if (match := _KEY.fullmatch(key))]


def find_owners(world: World) -> dict[str, str]:
    """The host that each id was first given to: it is its own for ever, also when it has left the policy."""
    owners: dict[str, str] = {}
    for version in find_versions(world.archive):
        for name, host_id in ids_named_in(world.archive.get(policy_key(version)).decode(errors="replace")).items():
            owners.setdefault(host_id, name)
    return owners


def get_policy(version: str, world: World) -> Policy:
    """An archived version, which never changes. Raises PermanentError when it is not there."""
    try:
        text = world.archive.get(policy_key(version)).decode()
    except KeyError:
        raise PermanentError(f"policy {version} is not in the archive: apply the policy again") from None
    return _parse_once(text, version)


def find_policy(world: World) -> Policy | None:
    """The policy in force; None before the first one is applied."""
    version = world.catalog.policy_version()
    return None if version is None else get_policy(version, world)
