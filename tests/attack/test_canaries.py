"""What is looked at before and after each attack shows whatever was done beyond the attacker's own tree."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ebbtide_agent.report import manifest_key
from tests.attack.canaries import ELSEWHERE, PLANTED
from tests.attack.scene import Scene
from tests.local.receiver_machine import BUCKET, MAY_MOUNT, MISSING, NONCE, RUN, report_key

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() == 0 and not MAY_MOUNT, reason="a receiver's walls need mount namespaces"),
]
Plant = Callable[[Scene], AbstractContextManager[str]]


def a_file(where: Callable[[Scene], Path]) -> Plant:
    """One that was not there; what is yielded is its name among the canaries."""

    @contextmanager
    def plant(stage: Scene) -> Iterator[str]:
        path = where(stage)
        path.parent.mkdir(exist_ok=True)
        path.write_text("by us0")
        yield str(path.relative_to(stage.receiver.root.parent))
        path.unlink()

    return plant


def changed(where: Callable[[Scene], Path], change: Callable[[bytes], bytes]) -> Plant:
    """One that was there, with as many bytes or others."""

    @contextmanager
    def plant(stage: Scene) -> Iterator[str]:
        path = where(stage)
        before = path.read_bytes()
        path.write_bytes(change(before))
        yield str(path.relative_to(stage.receiver.root.parent))
        path.write_bytes(before)

    return plant


def in_the_archive(key: str) -> Plant:
    @contextmanager
    def plant(stage: Scene) -> Iterator[str]:
        stage.receiver.aws.put(key, b"by us0")
        yield f"archive: {key}"
        stage.receiver.aws.client("s3").delete_object(Bucket=BUCKET, Key=key)

    return plant


@contextmanager
def an_event(stage: Scene) -> Iterator[str]:
    detail = {"run": RUN, "host": "us0", "id": "us0a", "status": "complete"}
    event = {"Source": "ebbtide.receiver.main", "DetailType": "Ebbtide Host Report", "Detail": json.dumps(detail)}
    stage.receiver.aws.client("events").put_events(Entries=[event])
    yield "told of us0a"


@contextmanager
def rights(stage: Scene) -> Iterator[str]:
    secret = stage.receiver.tree("eu0") / "secret"
    before = secret.stat().st_mode
    secret.chmod(0o4755)
    yield str(secret.relative_to(stage.receiver.root.parent))
    secret.chmod(before)


@contextmanager
def another_tree_in_its_place(stage: Scene) -> Iterator[str]:
    aside = stage.tree.rename(stage.tree.with_name("aside"))
    stage.tree.symlink_to(stage.receiver.tree("eu0"))
    yield str(stage.tree.relative_to(stage.receiver.root.parent))
    stage.tree.unlink()
    aside.rename(stage.tree)


def elsewhere(place: str) -> Plant:
    @contextmanager
    def plant(_: Scene) -> Iterator[str]:
        (Path(place) / PLANTED).touch()
        yield place
        (Path(place) / PLANTED).unlink()

    return plant


def of_its_own(name: str) -> Callable[[Scene], Path]:
    return lambda stage: stage.tree.parent / name


def of_the_receiver(name: str) -> Callable[[Scene], Path]:
    return lambda stage: stage.paths.run / name


PLANTS = {
    "a file beside its own tree": a_file(of_its_own("evil")),
    "a file beside the tree of another stolen key": a_file(lambda stage: stage.receiver.tree("us1").parent / "evil"),
    "a manifest of its own making": a_file(of_its_own("manifest.jsonl.gz")),
    "its own record, settled": changed(of_its_own("status.json"), lambda record: record.replace(b"false", b"true ")),
    "a link to another tree in the place of its own": another_tree_in_its_place,
    "a note that it has reported": a_file(of_the_receiver("sessions/us0a.reported")),
    "a note on its session, with more killed": changed(
        of_the_receiver("sessions/us0a.json"), lambda note: note.replace(b'"kills": 0', b'"kills": 5')
    ),
    "what is no note in its place": changed(of_the_receiver("sessions/us0a.json"), lambda _: b"by us0"),
    "something in the lock of its sessions": changed(of_the_receiver("sessions/us0a.seat0"), lambda _: b"by us0"),
    "a letter on its way out": a_file(of_the_receiver("outbox/.letter")),
    "a report": in_the_archive(report_key("us0a")),
    "a manifest in the archive": in_the_archive(manifest_key("us0a", RUN, NONCE)),
    "an event": an_event,
    "a line in the receiver's log": changed(lambda stage: stage.receiver.root / "log", lambda log: log + b"by us0\n"),
    "another file's content": changed(lambda stage: stage.receiver.tree("eu0") / "secret", lambda secret: secret[::-1]),
    "another file's rights": rights,
    **{f"a file in {place}": elsewhere(place) for place in ELSEWHERE if os.access(place, os.W_OK)},
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_whatever_is_planted_beyond_the_attackers_tree_shows(stage: Scene, plant: Plant) -> None:
    before = stage.outside()

    with plant(stage) as name:
        shown = stage.changed_since(before)

    assert name in shown


def test_what_a_push_into_its_own_tree_changes_is_not_shown(stage: Scene, tmp_path: Path) -> None:
    before = stage.outside()
    (tmp_path / PLANTED).write_text("by us0")

    ended = stage.push(tmp_path, "--delete")

    assert (ended.returncode, (stage.tree / PLANTED).exists()) == (0, True), ended.stderr
    assert stage.changed_since(before) == set()


def test_the_volume_is_mounted_as_a_receiver_mounts_it(stage: Scene) -> None:
    if not stage.receiver.store.is_mount():
        pytest.skip("nothing can be mounted here: attacks are tried on a directory in the place of a volume")

    (options,) = [line.split()[3] for line in Path("/proc/mounts").read_text().splitlines() if is_at(stage, line)]

    assert {"nosuid", "nodev", "noexec"} <= {*options.split(",")}


def is_at(stage: Scene, mount: str) -> bool:
    return mount.split()[1] == str(stage.receiver.store)
