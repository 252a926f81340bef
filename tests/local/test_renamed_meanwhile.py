"""A push in full ends, whatever becomes of files with several names meanwhile: a real rsync in a tree that moves."""

import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent import procs
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host import push
from ebbtide_agent.host.outcome import OUT_OF_STEP, SOME_IS_MISSING, VANISHED, as_out_of_step
from tests.local.own_nights import Host

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="not installed: rsync")

DIRECTORIES, FILES = 30, 60
# Where it waits for itself, it does so in the first of them.
PUSHES = 10
PATIENCE_SECONDS = 60


@contextmanager
def linked_and_renamed(tree: Path) -> Iterator[None]:
    """For a block, files get other names and lose the ones they have, some thousand times a second."""
    ended = threading.Event()

    def go_on(chance: random.Random) -> None:
        while not ended.wait(0.0005):
            one, other = (f"{chance.randrange(DIRECTORIES)}/{chance.randrange(FILES)}" for _ in range(2))
            change = chance.choice((os.rename, os.link))
            try:
                change(tree / one, tree / other)
            except (FileExistsError, FileNotFoundError):
                continue

    threads = [threading.Thread(target=go_on, args=(random.Random(seed),)) for seed in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.fault("H4")
def test_a_push_in_full_ends_while_files_of_several_names_are_renamed(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup")
    for directory in range(DIRECTORIES):
        (host.tree / str(directory)).mkdir()
        for name in range(FILES):
            (host.tree / f"{directory}/{name}").write_text("content")
    host.configure()
    config = configuration.load(host.paths)
    argv = push.rsync(config, (f"{host.target}/",), push.in_full(config))

    with linked_and_renamed(host.tree):
        for _ in range(PUSHES):
            ended = as_out_of_step(procs.run(argv, timeout=PATIENCE_SECONDS))
            assert ended.exit_code in (0, SOME_IS_MISSING, VANISHED, OUT_OF_STEP) and not ended.timed_out, ended
