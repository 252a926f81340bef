"""CopySnapshot in memory: asked for in one region, made in the other, of what the source holds when it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.model import Snapshot
from chalicelib.errors import PermanentError, TransientError
from tests.sim.story import Story
from tests.sim.volumes import SimVolumes

# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html: 20 at once per destination region, by default
MOST_AT_ONCE = 20


@dataclass
class SimCopies:
    """From this region's volumes to those of other regions, by the names of these."""

    here: SimVolumes
    regions: Mapping[str, SimVolumes]
    story: Story
    asked: list[str] = field(default_factory=list)

    def find(self, region: str, tags: Mapping[str, str]) -> list[Snapshot]:
        return self._in(region).find_snapshots(tags)

    def copy(
        self,
        region: str,
        snapshot_id: str,
        description: str,
        tags: Mapping[str, str],
        source_region: str | None = None,
    ) -> None:
        there = self._in(region)
        source = self.here.snapshots.get(snapshot_id)
        if source is None:
            raise PermanentError(f"InvalidSnapshot.NotFound: {snapshot_id}")
        if source.state != "completed":
            raise PermanentError(f"IncorrectState: {snapshot_id} is {source.state}")
        if sum(each.state == "pending" for each in there.snapshots.values()) >= MOST_AT_ONCE:
            raise TransientError(f"ResourceLimitExceeded: {MOST_AT_ONCE} copies to {region} are under way")
        self.asked.append(snapshot_id)
        there.receive_copy(source, self.here.content[snapshot_id], tags, lambda: snapshot_id in self.here.snapshots)

    def _in(self, region: str) -> SimVolumes:
        if region not in self.regions:
            raise PermanentError(f"there is no region {region}")
        return self.regions[region]
