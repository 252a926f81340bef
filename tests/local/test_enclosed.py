"""What comes of a test in an enclosure is what comes of it here."""

import os
import signal
from pathlib import Path

import pytest

from ebbtide_console.sandbox.enclosure import enclosed
from tests.local.enclosed import in_an_enclosure

pytestmark = pytest.mark.skipif(enclosed(), reason="is in an enclosure itself")


@in_an_enclosure
def fails() -> None:
    assert Path("/proc/1/comm").read_text() == "not the one of an enclosure"


@in_an_enclosure
def is_skipped() -> None:
    pytest.skip("for a reason")


@in_an_enclosure
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@in_an_enclosure
def passes(note: Path) -> None:
    assert enclosed()
    note.touch()


def test_whatever_becomes_of_a_test_in_an_enclosure_becomes_of_it_here(tmp_path: Path) -> None:
    passes(tmp_path / "note")

    assert (tmp_path / "note").exists()
    with pytest.raises(pytest.fail.Exception, match="== 'not the one of an enclosure'"):
        fails()
    with pytest.raises(pytest.skip.Exception, match="for a reason"):
        is_skipped()
    with pytest.raises(pytest.fail.Exception, match="its process ended with"):
        is_killed()
