"""The tick: one receiver it fails at does not keep the others from their nights."""

from dataclasses import dataclass

from chalicelib.core.model import Run
from chalicelib.errors import PermanentError
from chalicelib.flows.tick import tick
from tests.builders import A_POLICY_TEXT, a_moment, a_run_id
from tests.fakes import FakeCatalog, a_world

TWO_RECEIVERS = A_POLICY_TEXT.replace('hosts    = ["us0", "eu0"]', 'hosts    = ["us0"]').replace(
    "[host.us0]",
    """\
[receiver.other]
window   = "02:00-06:00"
timezone = "UTC"
name     = "other.example.org"
allow    = ["198.51.100.0/24"]
instance = ["t4g.small"]
volume   = { size = "80GiB" }
hosts    = ["eu0"]

[host.us0]""",
)


@dataclass
class CatalogWithADamagedRun(FakeCatalog):
    """The item of one of main's runs cannot be read."""

    def find_runs(self, receiver: str, limit: int = 10) -> list[Run]:
        if receiver == "main":
            raise PermanentError("item runs#main 2026-11-22#000001: schema is 9, this version reads 1")
        return super().find_runs(receiver, limit)


def test_a_receiver_whose_runs_cannot_be_read_is_told_and_the_others_have_their_nights() -> None:
    world = a_world(catalog=CatalogWithADamagedRun())
    world.archive.put_once("policies/000001.toml", TWO_RECEIVERS.encode())
    world.catalog.set_policy_version("000001", None)

    ticked = tick(world, a_moment(2, 1), lambda: "0" * 32)

    assert ticked.opened == ticked.runs == (a_run_id(receiver="other"),)
    assert ticked.faults == ("receiver main: item runs#main 2026-11-22#000001: schema is 9, this version reads 1",)
