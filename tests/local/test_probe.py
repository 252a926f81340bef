"""What this machine allows is found out the same way however many ask at once."""

import subprocess

import pytest

from ebbtide_console.sandbox import probe
from ebbtide_console.sandbox.enclosure import enter_argv
from ebbtide_console.sandbox.machine import REPOSITORY, python

AT_ONCE = 4
TRIALS_EACH = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ebbtide_console.sandbox import kernel, trial
for _ in range(200):
    with tempfile.TemporaryDirectory() as place:
        Path(place, "cgroup").mkdir()
        trial._try_cgroup(Path(place))
        kernel.detach_mount(Path(place, "cgroup"))
"""


def test_trials_at_the_same_time_do_not_stand_in_each_others_way() -> None:
    alone = probe.probe()
    if not alone.full:
        pytest.skip(f"no full substrate here: {alone.why}")
    argv = enter_argv([python("")[0], "-I", "-S", "-c", TRIALS_EACH, str(REPOSITORY)])

    trying = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(AT_ONCE)]

    assert [(trial.communicate(timeout=120)[1], trial.returncode) for trial in trying] == [("", 0)] * AT_ONCE
