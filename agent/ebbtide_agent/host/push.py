"""The push: the host's tree, by rsync over ssh, into its place on the receiver; again when the connection breaks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Callable

from ebbtide_agent import procs
from ebbtide_agent.errors import TransientError
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import attribute_filters, filters
from ebbtide_agent.host.link import World, look_up, ssh_as_one_word, wait_or_give_up
from ebbtide_agent.host.outcome import NO_CONNECTION, WORTH_ANOTHER_TRY, Counts, Outcome, tell
from ebbtide_agent.report import PARTIAL

# A far side that says nothing for so long is gone, whatever the connection believes.
SILENCE_SECONDS = 600


def rsync(config: Config, address: str) -> tuple[str, ...]:
    """The command that makes the receiver's tree equal to ours."""
    words = [config.rsync, "-aHAXS", "--numeric-ids", "--delete", "--delete-excluded", f"--timeout={SILENCE_SECONDS}"]
    # Without it two times of the same second count as equal, and their nanoseconds are lost.
    words += ["--modify-window=-1"]
    words += ["--stats", "--no-human-readable", "--info=progress2"]
    words += ["--one-file-system"] if config.one_file_system else []
    words += [f"--bwlimit={config.bandwidth}"] if config.bandwidth else []
    words += attribute_filters(as_root=os.geteuid() == 0)
    words += filters(config.include, config.exclude, config.whole_system)
    where = f"[{address}]" if ":" in address else address
    return (*words, "-e", ssh_as_one_word(config), f"{str(config.root).rstrip('/')}/", f"{where}::tree/")


def push(
    config: Config,
    until: datetime,
    world: World,
    environment: Mapping[str, str],
    listener: Callable[[bytes], None],
) -> Outcome:
    """Push, again and again while the connection is what fails, and tell how the last attempt went."""
    attempt = 0
    while True:
        outcome = push_once(config, attempt, environment, listener)
        if outcome.exit_code not in WORTH_ANOTHER_TRY:
            return outcome
        try:
            wait_or_give_up(attempt, until, world, TransientError(f"push to {config.receiver}: {outcome.problems[-1]}"))
        except TransientError:
            return outcome
        attempt += 1


def push_once(
    config: Config, attempt: int, environment: Mapping[str, str], listener: Callable[[bytes], None]
) -> Outcome:
    """One rsync; a receiver without an address is a connection that failed."""
    try:
        address = look_up(config, attempt)
    except TransientError as error:
        return Outcome(PARTIAL, NO_CONNECTION, Counts(), (str(error),))
    ended = procs.run(rsync(config, address), environment={**environment, "LC_ALL": "C"}, listener=listener)
    return tell(ended, str(config.root))
