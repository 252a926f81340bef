"""What tests of several files reach over there, or boot."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ebbtide_agent.host import changes
from tests.debian import a_server
from tests.local.edits import LARGE_BYTES
from tests.local.rsync_only import FarSide, a_far_side


@pytest.fixture(scope="module", autouse=True)
def large_files_of_a_megabyte() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(changes, "LARGE_BYTES", LARGE_BYTES)
        yield


@pytest.fixture(scope="module")
def far() -> Iterator[FarSide]:
    """A machine that gives us rsync and nothing else; each file has its own."""
    with a_far_side() as far:
        yield far


@pytest.fixture
def short() -> Iterator[Path]:
    """A place with a short name, almost as / is: much shorter than where the tests have theirs."""
    with TemporaryDirectory(prefix="", dir="/tmp") as place:
        yield Path(place)


@pytest.fixture(scope="session")
def aws_is_loaded() -> None:
    """What serves AWS and asks it, and the agent: each test in an enclosure, a copy of us, would load them anew."""
    from tests.local.receiver_machine import an_aws, unpacked
    from tools.build_agent import build

    with an_aws() as aws:
        aws.client("ssm").put_parameter(Name="/any", Type="SecureString", Value="any")
        aws.events()
    unpacked(build)


@pytest.fixture
def image() -> Path:
    """A server's tree, made before the test is in a network of its own, where no mirror is."""
    return a_server()
