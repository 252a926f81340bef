"""Our snapshots' copies in another region: found there, and asked for there."""

from collections.abc import Mapping

from chalicelib.aws import tagging
from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told
from chalicelib.aws.volumes import find_snapshots
from chalicelib.core.model import Snapshot


class Ec2Copies:
    """`source` is the region of the snapshots that are copied. A request goes to the region it copies to."""

    def __init__(self, clients: Clients, source: str) -> None:
        self._clients = clients
        self._source = source

    def find(self, region: str, tags: Mapping[str, str]) -> list[Snapshot]:
        with told(f"looking for copies of {dict(tags)} in {region}"):
            return find_snapshots(self._clients.ec2_in(region), tags)

    def copy(self, region: str, snapshot_id: str, description: str, tags: Mapping[str, str]) -> None:
        with told(f"copying snapshot {snapshot_id} to {region}"):
            self._clients.ec2_once_in(region).copy_snapshot(
                SourceRegion=self._source,
                SourceSnapshotId=snapshot_id,
                Description=description,
                Encrypted=True,
                TagSpecifications=[tagging.on_create("snapshot", tags)],
            )
