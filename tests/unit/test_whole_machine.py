"""What `make machine` plays is there: whoever renames one of these tests has not the minutes to see it missed."""

import subprocess
import sys

from tests.debian import ROOT
from tests.machine.test_on_a_whole_machine import TESTS


def test_what_another_kernel_is_booted_for_is_there() -> None:
    collect = (sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider")

    found = subprocess.run([*collect, *TESTS], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert found.returncode == 0, found.stdout + found.stderr
