"""The policy by its version, and the one in force."""

from chalicelib.core.policy import Policy
from chalicelib.core.policy_file import parse
from chalicelib.errors import PermanentError
from chalicelib.ports import World

PREFIX = "policies/"


def policy_key(version: str) -> str:
    return f"{PREFIX}{version}.toml"


def get_policy(version: str, world: World) -> Policy:
    """An archived version, which never changes. Raises PermanentError when it is not there."""
    try:
        text = world.archive.get(policy_key(version)).decode()
    except KeyError:
        raise PermanentError(f"policy {version} is not in the archive: apply the policy again") from None
    return parse(text, version)


def find_newest_version(world: World) -> str | None:
    """The highest version in the archive, whether or not it is in force; None before the first one."""
    archived = (key.removeprefix(PREFIX).removesuffix(".toml") for key in world.archive.list(PREFIX))
    return max(archived, default=None)


def find_policy(world: World) -> Policy | None:
    """The policy in force; None before the first one is applied."""
    version = world.catalog.policy_version()
    return None if version is None else get_policy(version, world)
