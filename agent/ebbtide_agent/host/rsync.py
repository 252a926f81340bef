"""The agent's one door to rsync: whichever stands still is ended, whatever it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Callable

from ebbtide_agent import procs
from ebbtide_agent.host.outcome import SILENCE
from ebbtide_agent.procs import Ended
from ebbtide_agent.stillness import STILL_SECONDS

_STOOD_STILL = b"rsync stood still: it said nothing, took nothing of a processor, and was ended\n"


def run_rsync(
    argv: Sequence[str],
    feed: bytes = b"",
    environment: Mapping[str, str] | None = None,
    listener: Callable[[bytes], None] | None = None,
) -> Ended:
    """Run it to its end, as `procs.run` does. One that stood still has ended as it does when the far side is silent."""
    ended = procs.run(argv, feed, environment=environment, listener=listener, still_seconds=STILL_SECONDS)
    return replace(ended, exit_code=SILENCE, err=ended.err + _STOOD_STILL) if ended.timed_out else ended
