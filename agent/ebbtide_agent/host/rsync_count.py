"""What a tree amounts to where only rsync can tell: a dry run of it into nowhere."""

from __future__ import annotations

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import filters
from ebbtide_agent.host.outcome import SOME_IS_MISSING, VANISHED, tell, why
from ebbtide_agent.host.tally import Counted
from ebbtide_agent.paths import NOWHERE


def count(config: Config) -> Counted:
    """What travels, by one walk of rsync's. Raises PermanentError when rsync does not tell."""
    words = [config.rsync, "-n", "-a", "--stats", "--no-human-readable"]
    words += ["--one-file-system"] if config.one_file_system else []
    words += filters(config.include, config.exclude, config.whole_system)
    ended = procs.run((*words, f"{str(config.root).rstrip('/')}/", f"{NOWHERE}/"))
    if ended.exit_code not in (0, SOME_IS_MISSING, VANISHED):
        raise PermanentError(f"rsync cannot tell what the tree amounts to: {why(ended)}")
    told = tell(ended)
    unread = told.problems if ended.exit_code == SOME_IS_MISSING else ()
    return Counted(told.counts.entries, told.counts.files, told.counts.bytes_total, unread=unread)
