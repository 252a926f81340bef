"""A push that breaks inside a file: what arrived of it is kept aside over there, gone on from, and cleared away.

Nobody sees half a file under its name, but in a tree that was empty and is not whole yet; and a large one that does not
fit into one window gets through in two.
"""

from __future__ import annotations

from dataclasses import replace

from ebbtide_agent.host.changes import as_list
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.push import DELETED, IN_PLACE, Pass

ASIDE = ".ebbtide-partial"
# One for the whole tree, at its top, where it is found again to be cleared away. A name that is not the right file's is
# no danger, rsync only looks into it for blocks that it need not send.
AT_THE_TOP = f"/{ASIDE}"
# Where the tree's top is not the top of all that rsync sees over there, one next to each file that breaks.
NEXT_TO_EACH = ASIDE


def resumable(what: Pass, aside: str = AT_THE_TOP) -> Pass:
    """The pass, going on from what was kept aside. One in place does so by itself.

    What it leaves next to a file that goes meanwhile, only a push in full that is none of these clears away.
    """
    if IN_PLACE in what.words:
        return what
    # Protected before any other rule: extraneous as it is, a full push would delete it first.
    words = (f"--partial-dir={aside}", f"--filter=P {aside}", *what.words)
    return replace(what, words=words, heals=what.heals and aside == AT_THE_TOP)


def into_nothing(what: Pass) -> Pass:
    """The pass, filling an empty tree: each file is written under its own name at once, which saves a rename for each.

    A break leaves half a file, which differs from ours in size or time, in a tree that is no restore point. What goes
    on from there no longer writes in place: a name over there may have become another one's link.
    """
    return replace(what, words=(IN_PLACE, *what.words), again=resumable(what))


def cleared(config: Config, was_empty: bool) -> Pass:
    """The pass that clears away what was kept of files that went meanwhile, and mends the root's times after it.

    In a tree that was empty only one of tonight's passes can have kept any.
    """
    return Pass(DELETED, config.root, as_list([ASIDE.encode()]), after_trouble=was_empty)
