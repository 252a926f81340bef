"""The boot script of a machine of ours: the template in `boot/`, with this machine's values filled in."""

from pathlib import Path
from string import Template

from chalicelib.core.tags import Role
from chalicelib.errors import PermanentError

TEMPLATE = Path(__file__).parents[1] / "boot" / "user_data.sh"


def render(
    role: Role,
    owner: str,
    attempt: int,
    bucket: str,
    region: str,
    brief_key: str,
    agent_key: str,
    power_off_minutes: int,
    stop_minutes: int,
    serves: bool,
    nonce: str = "",
    filesystem: str = "ext4",
) -> str:
    """The script EC2 runs at the first boot; `owner` is the run or recovery id. At most 16 KiB, EC2's limit.

    It powers itself off after so many minutes, and what it does has others to come to an end when it is told to stop.
    One that `serves` has hosts come to it over ssh; one that does not boots what it restored. `nonce` is what the keys
    of its words bear, `filesystem` what its volume has.
    """
    values = {
        "ebbtide_role": role.value,
        "ebbtide_id": owner,
        "ebbtide_attempt": str(attempt),
        "ebbtide_bucket": bucket,
        "ebbtide_region": region,
        "ebbtide_brief": brief_key,
        "ebbtide_agent": agent_key,
        "ebbtide_power_off_minutes": str(power_off_minutes),
        "ebbtide_stop_minutes": str(stop_minutes),
        "ebbtide_serves": "yes" if serves else "no",
        "ebbtide_nonce": nonce,
        "ebbtide_filesystem": filesystem,
    }
    return Template(TEMPLATE.read_text()).substitute({name: _quotable(value) for name, value in values.items()})


def _quotable(text: str) -> str:
    """The template puts each value between single quotes. Raises PermanentError for one that would end them."""
    if "'" in text or not text.isprintable():
        raise PermanentError(f"{text!r} cannot stand in a boot script: rename it without quotes and control characters")
    return text
