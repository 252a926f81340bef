"""A server of another kind of machine: backed up to a real receiver, and the drill of that night says what it is."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.wire import parse_recovery_report
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.restore import session
from ebbtide_agent.restore.recovery import parse_brief
from tests.local.receiver_machine import (
    BUCKET,
    MISSING,
    PATIENCE_SECONDS,
    REGION,
    RUN,
    VOLUME,
    Receiver,
    a_receiver,
    an_aws,
)
from tests.unit.agent.test_architecture import AARCH64, X86_64, an_elf

# As in the examples of a brief.
NONCE = "00112233445566778899aabbccddeeff"
RECOVERY = "us0a/2026-11-24/1"
BRIEF = f"recoveries/{RECOVERY}/brief.json"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a stored tree real again, to boot it"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def drill(receiver: Receiver, manifest: dict[str, Any], place: Path) -> bytes:
    """The report of a recovery machine that has been given the volume which the receiver has let go of."""
    paths, cloud = MachinePaths(place / "recovery"), Cloud(BUCKET, REGION)
    button, device = paths.root / "usr/local/sbin/poweroff", paths.device(VOLUME)
    for new in (button, device):
        new.parent.mkdir(parents=True)
    button.symlink_to("/bin/true")
    device.symlink_to(receiver.store)
    brief = json.loads(Path("tests/contract/wire/brief-recovery.json").read_text())
    brief |= {"recovery": RECOVERY, "run": RUN, "volume": {"id": VOLUME}}
    brief |= {"manifest": manifest["key"], "manifest_sha256": manifest["sha256"]}
    receiver.aws.put(BRIEF, json.dumps(brief).encode())
    with session.powered_off(paths):
        session.prove(parse_brief(cloud.get_brief(BRIEF)), paths, cloud, lambda: datetime.now(UTC))
    return receiver.aws.body(f"recoveries/{RECOVERY}/{NONCE}/report.json")


@pytest.mark.fault("H17")
def test_an_image_that_recovery_cannot_run_is_known_from_its_night_and_told_by_its_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, name = (AARCH64, "aarch64") if platform.machine() == "x86_64" else (X86_64, "x86_64")
    an_elf(tmp_path / "tree/usr/lib/systemd/systemd", theirs)
    (tmp_path / "tree/etc").mkdir()
    (tmp_path / "tree/etc/os-release").write_text('PRETTY_NAME="Plan 9 (Fourth Edition)"\n')
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, ("us0",)) as receiver:
        for variable, value in aws.environment.items():
            monkeypatch.setenv(variable, value)

        ended = receiver.back_up("us0", tmp_path / "tree", tmp_path / "etc")
        receiver.process.wait(PATIENCE_SECONDS)
        recorded = receiver.report("us0")
        assert recorded, ended.stderr
        told = drill(receiver, recorded["receiver"]["manifest"], tmp_path)

    assert (recorded["status"], recorded["os"]) == ("complete", "Plan 9 (Fourth Edition)")
    assert recorded["arch"] == platform.machine()
    report = parse_recovery_report(told)
    assert (report.verdict, report.different, report.missing) == ("content only", 0, 0)
    assert report.boot.why == f"the image is of {name}, and this machine runs {recorded['arch']}"
    assert report.boot.seconds == 0.0
