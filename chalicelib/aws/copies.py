"""Copies of snapshots, ours or shared with us: found in their region, and asked for there."""

from collections.abc import Mapping

from chalicelib.aws import tagging
from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import told
from chalicelib.aws.volumes import find_snapshots
from chalicelib.core.model import Snapshot


class Ec2Copies:
    """`home` is our own region. A request goes to the region it copies to."""

    def __init__(self, clients: Clients, home: str) -> None:
        self._clients = clients
        self._home = home

    def find(self, region: str, tags: Mapping[str, str]) -> list[Snapshot]:
        with told(f"looking for copies of {dict(tags)} in {region}"):
            return find_snapshots(self._clients.ec2_in(region), tags)

    def find_shared(self, region: str, owner: str) -> list[Snapshot]:
        with told(f"looking for snapshots that account {owner} shares with us in {region}"):
            return find_snapshots(self._clients.ec2_in(region), {}, owner)

    def copy(
        self,
        region: str,
        snapshot_id: str,
        description: str,
        tags: Mapping[str, str],
        source_region: str | None = None,
    ) -> None:
        with told(f"copying snapshot {snapshot_id} to {region}"):
            self._clients.ec2_once_in(region).copy_snapshot(
                SourceRegion=source_region or self._home,
                SourceSnapshotId=snapshot_id,
                Description=description,
                Encrypted=True,
                TagSpecifications=[tagging.on_create("snapshot", tags)],
            )
