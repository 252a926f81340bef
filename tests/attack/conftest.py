"""One receiver for each group of attacks, and a look at everything else before and after each of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ebbtide_agent.receiver import confine
from tests.attack.scene import ATTACKER, MEANWHILE, NEIGHBOUR, REPORTERS, Scene
from tests.local.receiver_machine import MAY_MOUNT, Volume, a_receiver, an_aws
from tests.loops import a_loop_device, has_loops

VOLUME_BYTES = 256 << 20


@contextmanager
def a_volume(image: Path) -> Iterator[Volume | None]:
    """A disk for the receiver to make its file system on and to mount; none where there are no devices for it."""
    if not (has_loops() and MAY_MOUNT):
        yield None
        return
    with image.open("wb") as file:
        file.truncate(VOLUME_BYTES)
    with a_loop_device(image) as device:
        yield Volume(device, "ext4")


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
        volume, aws = all_of_it.enter_context(a_volume(home / "volume")), all_of_it.enter_context(an_aws())
        receiver = all_of_it.enter_context(a_receiver(aws, kind, hosts, program=program, volume=volume))
        scene = Scene(receiver, home)
        for name in ("neighbour", "source"):
            (scene.place / name).mkdir()
            (scene.place / name / "secret").write_text(f"of {name}")
        assert scene.neighbour_pushes().returncode == 0, receiver.log()
        assert scene.push(scene.place / "source").returncode == 0, receiver.log()
        yield scene
        scene.disconnect()


@pytest.fixture(scope="module")
def _the_neighbours_night(stage: Scene) -> Iterator[None]:
    """Whatever is tried, the backup of one host that is under way comes through, and then that of another."""
    with stage.push_under_way():
        yield
    ended = stage.neighbour_pushes()
    assert ended.returncode == 0, ended.stderr + stage.receiver.log().encode()


@pytest.fixture
def scene(stage: Scene, _the_neighbours_night: None) -> Iterator[Scene]:
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
