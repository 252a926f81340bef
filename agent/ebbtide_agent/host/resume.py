"""A push that breaks inside a file: what arrived of it is kept aside at the receiver, gone on from, and cleared away.

Nobody sees half a file under its name, and a large one that does not fit into one window gets through in two.
"""

from __future__ import annotations

from dataclasses import replace

from ebbtide_agent.host.changes import as_list
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.push import IN_PLACE, LISTED, Pass

# One for the whole tree, at its top: next to each file it could not be found again to be cleared away. A name that is
# not the right file's is no danger, rsync only looks into it for blocks that it need not send.
ASIDE = ".ebbtide-partial"


def resumable(what: Pass) -> Pass:
    """The pass, going on from what was kept aside. One in place does so by itself."""
    if IN_PLACE in what.words:
        return what
    # Protected before any other rule: extraneous as it is, a full push would delete it first.
    return replace(what, words=(f"--partial-dir=/{ASIDE}", f"--filter=P /{ASIDE}", *what.words))


def cleared(config: Config) -> Pass:
    """The pass that clears away what was kept of files that went meanwhile, and mends the root's times after it."""
    return Pass(LISTED, config.root, as_list([ASIDE.encode()]))
