"""Write the configuration into docs/host.md from the lists that are acted by: `python -m tools.host_reference`."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from ebbtide_agent.host.config_keys import KEYS, Key
from ebbtide_agent.host.filters import BUILT_IN_EXCLUDES
from ebbtide_agent.host.mounts import MADE_UP
from ebbtide_agent.host.volatile import DATABASES, DIRECTORIES, NAMES, PLACES
from tools.generated import with_generated

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/host.md"

_HEAD = "| key | default | meaning |\n|---|---|---|\n"


def reference() -> str:
    """Every key, what never travels, and what may vanish while it does."""
    return f"""
{_HEAD}{"".join(map(_row, KEYS))}
### What is never backed up

Of a whole system, unless `WHOLE_SYSTEM=no` says otherwise, nothing travels that one of these patterns matches:

{_listed("", BUILT_IN_EXCLUDES)}

Nor does what the kernel makes up in a mount of its own, a chroot's `proc` for instance, wherever that is when the night
begins. It does so in mounts of these kinds:

{_listed("", MADE_UP)}

### What may vanish

This comes and goes by itself, and may be gone before it was sent:

{_listed("- places: ", PLACES)}
{_listed(f"- directories of these names, with all that is in them, but not in `{DATABASES}`: ", DIRECTORIES)}
{_listed("- names: ", NAMES)}
"""


def updated(document: str) -> str:
    """The document with the reference as it should be now."""
    return with_generated(document, "host_reference", reference())


def _row(key: Key) -> str:
    default = "needed" if key.default is None else f"`{key.default}`" if key.default else "empty"
    return f"| `{key.name}` | {default} | {key.meaning} |\n"


def _listed(what: str, patterns: Sequence[str]) -> str:
    text = what + ", ".join(f"`{pattern}`" for pattern in patterns)
    indent = "  " if what else ""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
