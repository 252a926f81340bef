"""How a simulated world ends, in what counts: to compare one night with another."""

from chalicelib.core import tags
from tests.sim.night import Simulation


def the_end(sim: Simulation) -> tuple[object, ...]:
    """Everything that counts when all is over, without times, ids and numbers of attempts."""
    catalog, volumes = sim.catalog, sim.volumes
    snapshots = [(each.tags[tags.RUN], each.state, each.tags.get(tags.MARKED)) for each in volumes.snapshots.values()]
    return (
        [(run.id, run.state, run.why) for run in sim.runs()],
        sorted((str(run_id), host_id, result.status) for (run_id, host_id), result in catalog.results.items()),
        sorted((point.host_id, str(point.run), point.proven is None) for point in catalog.points.values()),
        [(each.id, each.kind, each.state, each.verdict) for each in catalog.find_recoveries()],
        sorted(snapshots, key=str),
        sorted(volume.tags[tags.ROLE] for volume in volumes.volumes.values()),
        volumes.taken,
        sum(box.machine.state != "terminated" for box in sim.machines.boxes.values()),
        sim.archive.get(f"policies/{catalog.policy_version()}.toml"),
    )
