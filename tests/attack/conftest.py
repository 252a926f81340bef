"""One receiver for each group of attacks, and a look at everything else before and after each of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ebbtide_agent.receiver import confine
from ebbtide_agent.volume import EXT4, make_ready
from tests.attack.scene import ATTACKER, MEANWHILE, NEIGHBOUR, REPORTERS, Scene
from tests.local.receiver_machine import MAY_MOUNT, a_receiver, an_aws
from tests.loops import has_loops

DISK_BYTES = 256 << 20


def a_disk(image: Path) -> Path | None:
    """What a receiver's volume has on it when it is new; none where nothing can be mounted.

    It is mounted for the receiver: in one namespace with all other tests it could not have its device for itself.
    """
    if not (has_loops() and MAY_MOUNT):
        return None
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    make_ready(image, image, EXT4)
    return image


@pytest.fixture(scope="module")
def program() -> Sequence[str] | None:
    """What runs as the receiver instead of the agent, if anything does."""
    return None


@pytest.fixture(scope="module")
def stage(program: Sequence[str] | None) -> Iterator[Scene]:
    """The receiver itself, before anybody looks at what is tried."""
    hosts = (ATTACKER, NEIGHBOUR, MEANWHILE, *REPORTERS)
    kind = confine.SEPARATE if os.geteuid() == 0 else confine.OWN
    with ExitStack() as all_of_it:
        home = Path(all_of_it.enter_context(TemporaryDirectory(prefix="ebbtide-attacker-")))
        aws = all_of_it.enter_context(an_aws())
        receiver = all_of_it.enter_context(a_receiver(aws, kind, hosts, disk=a_disk(home / "disk"), program=program))
        scene = Scene(receiver, home)
        for name in ("neighbour", "source"):
            (scene.place / name).mkdir()
            (scene.place / name / "secret").write_text(f"of {name}")
        assert scene.neighbour_pushes().returncode == 0, receiver.log()
        assert scene.push(scene.place / "source").returncode == 0, receiver.log()
        yield scene
        scene.disconnect()


@pytest.fixture(scope="module")
def _nights_of_others(stage: Scene) -> Iterator[None]:
    with stage.nights_of_others():
        yield


@pytest.fixture
def scene(stage: Scene, _nights_of_others: None) -> Iterator[Scene]:
    """The receiver; and nothing outside the attacker's own tree is another than before."""
    stage.reported.clear()
    before = stage.outside()
    yield stage
    assert stage.receiver.process.poll() is None, stage.receiver.log()
    assert stage.changed_since(before) == set()


@pytest.fixture
def is_refused(request: pytest.FixtureRequest) -> bool:
    """Whether the table says that this attack is refused, and not that it has no effect."""
    attack = request.node.get_closest_marker("attack")
    return bool(attack and attack.kwargs["outcome"] == "refused")
