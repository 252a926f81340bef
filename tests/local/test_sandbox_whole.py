"""The sandbox with real machines under it: user data that finds its volume, speaks AWS, and powers itself off."""

from pathlib import Path

from ebbtide_console.sandbox.directories import Directories
from ebbtide_console.sandbox.server import Sandbox
from tests.local.sandbox_parts import (
    WAIT,
    Recorder,
    a_template,
    a_volume,
    client,
    deploy_ec2_rules,
    deploy_rule,
    instance,
    launch,
    until,
)

USER_DATA = """#!/bin/sh
D=$EBBTIDE_ROOT/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume}
until [ -e "$D" ]; do sleep 0.05; done
echo "what the hosts sent" >"$D/page"
python3 - <<'END'
import boto3, json
detail = json.dumps({{"host": "us0"}})
entry = {{"Source": "ebbtide.receiver.main", "DetailType": "Ebbtide Host Report", "Detail": detail}}
boto3.client("events").put_events(Entries=[entry])
END
poweroff
"""


def test_a_night_in_small(tmp_path: Path) -> None:
    recorder = Recorder("on_report", "on_instance_state", "on_snapshot_state")
    substrate = Directories(tmp_path, "for this test")
    sandbox = Sandbox(tmp_path, substrate, load=recorder.handlers)
    try:
        sandbox.start()
        deploy_ec2_rules(sandbox.endpoint)
        deploy_rule(sandbox.endpoint, "on_report", {"source": [{"prefix": "ebbtide."}]})
        ec2 = client("ec2", sandbox.endpoint)
        volume = a_volume(ec2)

        started = launch(ec2, a_template(ec2), user_data=USER_DATA.format(volume=volume.replace("-", "")))
        assert until(lambda: instance(ec2, started)["State"]["Name"] == "running")
        ec2.attach_volume(VolumeId=volume, InstanceId=started, Device="/dev/sdf")
        assert until(lambda: "terminated" in recorder.states()), substrate.machine_log(started).read_text()
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        assert sandbox.quiet(WAIT)
        copy = a_volume(ec2, "copy", SnapshotId=snapshot)

        assert [event["detail"] for event in recorder.events("on_report")] == [{"host": "us0"}]
        assert [event["detail"]["result"] for event in recorder.events("on_snapshot_state")] == ["succeeded"]
        assert (tmp_path / "disks" / copy / "page").read_text() == "what the hosts sent\n"
        assert [found["State"] for found in ec2.describe_volumes()["Volumes"]] == ["available"] * 2
        assert (sandbox.work.faults, sandbox.first.functions.dead_letters) == ([], [])
    finally:
        sandbox.stop()
