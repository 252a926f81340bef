"""What the tests of restores share: the commands as a person types them, and trees to compare."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ebbtide_agent.entry import Entry
from ebbtide_agent.paths import HostPaths
from tests.local.own_nights import PATIENCE_SECONDS, Ended, Host, agent, as_agent, entries


def ask(host: Host, command: str, *words: str | bytes, cwd: Path, within: Sequence[str] = ()) -> Ended:
    """`ebbtide-agent COMMAND WORDS`, where nobody can answer."""
    if within:
        return ask_as(agent(host)[:3], host.paths, command, *words, cwd=cwd, within=within)
    return as_agent(host, command, *words, cwd=cwd)


def ask_as(
    program: Sequence[str],
    paths: HostPaths,
    command: str,
    *words: str | bytes,
    cwd: Path,
    within: Sequence[str] = (),
) -> Ended:
    argv = [*within, *program, command, *words, "--etc", str(paths.etc), "--state", str(paths.state)]
    return subprocess.run(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


def given_back(root: Path, *names: str) -> dict[bytes, Entry]:
    """What a restore gives back of these parts of a tree: all of it, but no set-id bits to whoever is not root."""
    taken = 0 if os.geteuid() == 0 else 0o6000
    return {path: replace(entry, mode=entry.mode & ~taken) for path, entry in below(root, *names).items()}


def below(root: Path, *names: str) -> dict[bytes, Entry]:
    """All there is to these parts of a tree, whatever else is in it, but for how many names it has elsewhere."""
    found = {}
    for name in names:
        if (root / name).is_dir() and not (root / name).is_symlink():
            for path, entry in entries(root / name).items():
                group = entry.group and name.encode() + b"/" + entry.group
                inside = name.encode() if path == b"." else name.encode() + b"/" + path
                found[inside] = replace(entry, path=inside, group=group)
        else:
            found[name.encode()] = replace(entries(root)[name.encode()], group=None)
    return found


def rot(file: Path) -> None:
    """Another content of the same size, at the same time."""
    seen = file.stat()
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
