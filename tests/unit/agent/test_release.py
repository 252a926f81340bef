"""A receiver whose time is up lets go of its volume, whoever answers."""

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from ebbtide_agent import procs
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import TransientError
from ebbtide_agent.instance import Instance
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import release
from ebbtide_agent.receiver.brief import Brief, parse_brief
from ebbtide_agent.receiver.lease import Session, write_session
from ebbtide_agent.receiver.places import make_places, make_room

BRIEF = parse_brief((Path(__file__).parents[2] / "contract/wire/brief-receiver.json").read_bytes())
(US0,) = BRIEF.hosts


class OutOfReach:
    """An archive of which it is known only after a while that it does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, key: str) -> bytes:
        return self._wait_in_vain(key)

    def put_once(self, key: str, body: bytes) -> bool:
        return bool(self._wait_in_vain(key))

    def _wait_in_vain(self, key: str) -> bytes:
        self.asked.append(key.rpartition("/")[2])
        raise TransientError("no answer")


def after_pushes(root: Path, *hosts: str) -> tuple[Brief, MachinePaths]:
    """A receiver whose hosts have pushed and not reported; its volume is a directory."""
    brief, paths = replace(BRIEF, hosts=tuple(replace(US0, id=host) for host in hosts)), MachinePaths(root)
    make_room(paths)
    device = paths.device(brief.volume_id)
    device.mkdir(parents=True)
    paths.volume.parent.mkdir(parents=True)
    paths.volume.symlink_to(device)
    make_places(paths, brief.hosts, as_root=False)
    for host in hosts:
        write_session(paths, host, Session(20, 60.0))
    return brief, paths


@pytest.mark.fault("R10")
def test_an_archive_that_does_not_answer_is_not_waited_for_once_more_for_each_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "HEARING_SECONDS", 0)
    brief, paths = after_pushes(tmp_path, "us0a", "eu0a", "de0a")
    instance, archive = Instance("receiver", brief.run, 1, "archive", "us-east-1", "brief"), OutOfReach()

    with pytest.raises(TransientError):
        release.release(
            instance, brief, paths, cast(Cloud, archive), lambda: brief.deadline, procs.start(["sleep", "60"])
        )

    assert archive.asked == ["us0a.json", "1.json"]
    assert not os.path.lexists(paths.volume)
