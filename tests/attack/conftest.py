"""One receiver for each group of attacks, and a look at everything else before and after each of them."""

import os
from collections.abc import Iterator

import pytest

from ebbtide_agent.receiver import confine
from tests.attack.scene import ATTACKER, MEANWHILE, NEIGHBOUR, REPORTERS, Scene
from tests.local.receiver_machine import a_receiver, an_aws


@pytest.fixture(scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("attacker")
    hosts = (ATTACKER, NEIGHBOUR, MEANWHILE, *REPORTERS)
    kind = confine.SEPARATE if os.geteuid() == 0 else confine.OWN
    for name in ("neighbour", "source"):
        (place / name).mkdir()
        (place / name / "secret").write_text(f"of {name}")
    with an_aws() as aws, a_receiver(aws, kind, hosts) as receiver:
        scene = Scene(receiver, place)
        assert scene.neighbour_pushes().returncode == 0, receiver.log()
        assert scene.push(place / "source").returncode == 0, receiver.log()
        yield scene
        scene.disconnect()


@pytest.fixture(scope="module")
def _the_neighbours_night(_scene: Scene) -> Iterator[None]:
    """Whatever is tried, the backup of one host that is under way comes through, and then that of another."""
    with _scene.push_under_way():
        yield
    ended = _scene.neighbour_pushes()
    assert ended.returncode == 0, ended.stderr + _scene.receiver.log().encode()


@pytest.fixture
def scene(_scene: Scene, _the_neighbours_night: None) -> Iterator[Scene]:
    """The receiver; and nothing outside the attacker's own tree is another than before."""
    before = _scene.outside()
    yield _scene
    assert _scene.receiver.process.poll() is None, _scene.receiver.log()
    assert _scene.outside() == before


@pytest.fixture
def is_refused(request: pytest.FixtureRequest) -> bool:
    """Whether the table says that this attack is refused, and not that it has no effect."""
    attack = request.node.get_closest_marker("attack")
    return bool(attack and attack.kwargs["outcome"] == "refused")
