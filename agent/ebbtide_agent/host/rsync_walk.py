"""What travels where only rsync can tell, counted and entry by entry: a dry run of it into nowhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import Callable

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import filters
from ebbtide_agent.host.index import STAT, Entry
from ebbtide_agent.host.look import looking
from ebbtide_agent.host.named import unescaped
from ebbtide_agent.host.outcome import SOME_IS_MISSING, VANISHED, Outcome, tell, why
from ebbtide_agent.host.rsync import run_rsync
from ebbtide_agent.host.scan import AS_PACKED
from ebbtide_agent.host.scratch import scratch
from ebbtide_agent.host.tally import Counted
from ebbtide_agent.paths import NOWHERE, HostPaths

# In front of a name, and after it. Within it rsync prints no end of a line.
_MARK, _END = b"> ", b"\n"


def count(config: Config) -> Counted:
    """What travels amounts to, by one walk of rsync's. Raises PermanentError when rsync does not tell."""
    told = _walked(config)
    unread = told.problems if told.exit_code == SOME_IS_MISSING else ()
    return Counted(told.counts.entries, told.counts.files, told.counts.bytes_total, unread=unread)


def read_entries(config: Config, paths: HostPaths) -> Iterator[Entry]:
    """Each entry that travels and is still there, by one walk of rsync's. Raises PermanentError, also at the end."""
    with scratch(paths) as place:
        printed = place / "names"
        with printed.open("wb", buffering=0) as file:
            told = _walked(config, (f"--out-format={_MARK.decode()}%n",), lambda chunk: _write(file, chunk))
        with looking("a look at what travels", partial(_entries_of, config, printed, told.counts.entries)) as entries:
            yield from entries


def _entries_of(config: Config, printed: Path, named: int) -> Iterator[Entry]:
    kept = 0
    with printed.open("rb") as lines:
        for line in lines:
            if line.startswith(_MARK) and line.endswith(_END):
                kept += 1
                yield from _find_entry(config, unescaped(line[len(_MARK) : -len(_END)].rstrip(b"/")))
    if not kept or kept != named:
        raise PermanentError(f"{printed.parent} has {kept} of the {named} names that travel: is the disk full?")


def _write(file: RawIOBase, chunk: bytes) -> None:
    file.write(chunk)


def _find_entry(config: Config, path: bytes) -> Iterator[Entry]:
    """One, or none if it is not there any more."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = os.lstat(config.top + b"/" + path)
        yield Entry(path, STAT.pack(*AS_PACKED(found)), found.st_dev)


def _walked(config: Config, words: Iterable[str] = (), listener: Callable[[bytes], None] | None = None) -> Outcome:
    # A device that we could not make is counted all the same, and only named if we might.
    argv = [config.rsync, "-n", "-a", "--super", "--stats", "--no-human-readable", *words]
    argv += ["--one-file-system"] if config.one_file_system else []
    argv += filters(config.include, config.hidden, config.whole_system)
    argv += [f"{str(config.root).rstrip('/')}/", f"{NOWHERE}/"]
    ended = run_rsync(argv, listener=listener)
    if ended.exit_code not in (0, SOME_IS_MISSING, VANISHED):
        raise PermanentError(f"rsync cannot tell what the tree amounts to: {why(ended)}")
    return tell(ended)
