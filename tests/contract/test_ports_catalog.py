"""The catalogue, on DynamoDB and in the simulator: what one writes comes back, and only one of two writers wins."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chalicelib.aws.catalog import DynamoCatalog
from chalicelib.core.ids import own_run
from chalicelib.core.model import (
    Copying,
    CopyIntent,
    HostStatus,
    Lease,
    Pruning,
    Quota,
    RecoveryState,
    RunState,
    Times,
    Uncopied,
    Way,
)
from chalicelib.core.preflight import Preflight, Seen, judge
from chalicelib.core.telling import Told
from chalicelib.errors import PermanentError
from chalicelib.ports import Catalog
from tests.builders import a_disk, a_moment, a_point, a_recovery, a_recovery_id, a_result, a_run, a_run_id
from tests.contract.aws import Account
from tests.contract.clouds import BOTH
from tests.fakes import FakeCatalog
from tests.own_volumes import DONE, an_own_run


@pytest.fixture(params=BOTH)
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return the_dynamos(request.getfixturevalue("account")) if request.param == "moto" else FakeCatalog()


def the_dynamos(account: Account) -> DynamoCatalog:
    return DynamoCatalog(account.clients, account.table)


def test_a_run_comes_back_as_it_was_opened(catalog: Catalog) -> None:
    run = replace(a_run(), machine_launched=a_moment(2, 1), why="because", snapshot_intended=a_moment(3))
    run = replace(run, disk=a_disk(), growth_asked=a_moment(2, 2), aside=("vol-8", "vol-9"), untagged=("no",))

    is_opened = catalog.open_run(run)

    assert is_opened
    assert catalog.get_run(run.id) == run


def test_nobody_has_no_points_and_no_recoveries(catalog: Catalog) -> None:
    catalog.record_point(a_point())
    catalog.open_recovery(a_recovery())

    assert (catalog.find_points(""), catalog.find_recoveries("")) == ([], [])


def test_a_run_is_opened_once(catalog: Catalog) -> None:
    catalog.open_run(a_run())

    is_opened_again = catalog.open_run(replace(a_run(), policy_version="000002"))

    assert not is_opened_again
    assert catalog.get_run(a_run_id()).policy_version == "000001"


def test_a_receiver_has_one_open_run_at_a_time(catalog: Catalog) -> None:
    opened = [catalog.open_run(a_run(run_id)) for run_id in (a_run_id(23), a_run_id(23, attempt=2), a_run_id(24))]
    of_another = catalog.open_run(a_run(a_run_id(receiver="other")))

    assert opened == [True, False, False]
    assert of_another
    assert [run.id for run in catalog.find_runs("main")] == [a_run_id(23)]


def test_the_runs_of_a_host_with_a_volume_of_its_own_are_found_in_the_order_of_their_seconds(catalog: Catalog) -> None:
    done = [
        replace(an_own_run(), id=own_run("web1", at), state=RunState.DONE) for at in (DONE, a_moment(0), a_moment(23))
    ]
    for run in done:
        catalog.open_run(run)
    catalog.open_run(a_run(a_run_id(receiver="host")))

    found = catalog.find_runs("host.web1", limit=2)

    assert [run.id for run in found] == [done[2].id, done[0].id]
    assert catalog.get_run(done[1].id) == done[1]


def test_when_its_run_is_closed_a_receiver_has_another(catalog: Catalog) -> None:
    catalog.open_run(a_run())
    catalog.save_run(replace(a_run(), state=RunState.FAILED))

    assert catalog.open_run(a_run(a_run_id(attempt=2)))
    assert not catalog.open_run(a_run(a_run_id(attempt=3)))


def test_of_two_who_open_different_runs_at_once_one_wins(account: Account) -> None:
    catalog = the_dynamos(account)
    catalog.open_run(a_run(a_run_id(22)))
    catalog.save_run(replace(a_run(a_run_id(22)), state=RunState.DONE))
    slow = DynamoCatalog(catalog._clients, catalog._table)
    slow._turn_of = lambda receiver: a_run_id(22)  # type: ignore[method-assign]  # it looked before the other wrote

    first, second = catalog.open_run(a_run(a_run_id(23))), slow.open_run(a_run(a_run_id(24)))

    assert (first, second) == (True, False)
    assert [run.id for run in catalog.find_runs("main")] == [a_run_id(23), a_run_id(22)]


def test_runs_that_are_closed_come_back_beside_an_open_one(catalog: Catalog) -> None:
    catalog.open_run(a_run())

    assert catalog.open_run(a_run(a_run_id(21), state=RunState.DONE))


def test_the_zones_that_had_no_room_come_back_with_the_run(catalog: Catalog) -> None:
    run = replace(a_run(), full_zones=("zone-a", "zone-b"))
    catalog.open_run(run)

    assert catalog.get_run(run.id) == run


def test_of_two_who_save_a_run_one_wins(catalog: Catalog) -> None:
    catalog.open_run(a_run())
    mine = theirs = catalog.get_run(a_run_id())

    saved = catalog.save_run(replace(theirs, state=RunState.DONE))
    lost = catalog.save_run(replace(mine, state=RunState.FAILED))

    assert saved is not None
    assert saved.version == theirs.version + 1
    assert lost is None
    assert catalog.get_run(a_run_id()) == saved


def test_runs_are_found_newest_first_and_only_the_receivers_own(catalog: Catalog) -> None:
    ids = [a_run_id(day, attempt) for day in (9, 10, 30) for attempt in (1, 2, 10)]
    for run_id in [*ids, a_run_id(receiver="other")]:
        catalog.open_run(a_run(run_id, state=RunState.DONE))

    found = catalog.find_runs("main", limit=4)

    assert [run.id for run in found] == sorted(ids, reverse=True)[:4]


LOOKED_FOR: dict[str, Callable[[Catalog], object]] = {
    "run": lambda catalog: catalog.get_run(a_run_id()),
    "recovery": lambda catalog: catalog.get_recovery(a_recovery_id()),
}


@pytest.mark.parametrize("what", LOOKED_FOR)
def test_what_is_absent_is_a_key_error(catalog: Catalog, what: str) -> None:
    with pytest.raises(KeyError):
        LOOKED_FOR[what](catalog)


def test_the_first_result_of_a_host_wins(catalog: Catalog) -> None:
    said = {"problems": ("a", "b"), "warnings": ("disk /dev/sda: …",), "quota": Quota(30, 20, "why")}
    first = replace(a_result("us0"), **said, seconds=0.1)  # type: ignore[arg-type]
    catalog.record_result(a_result("eu0"))

    assert catalog.record_result(first)
    assert not catalog.record_result(replace(first, status=HostStatus.FAILED))
    assert catalog.find_results(a_run_id()) == [a_result("eu0"), first]
    assert catalog.find_results(a_run_id(attempt=2)) == []


def test_the_policy_moves_only_from_where_it_was_seen(catalog: Catalog) -> None:
    assert catalog.policy_version() is None
    assert catalog.set_policy_version("000001", None)
    assert not catalog.set_policy_version("000009", None)
    assert not catalog.set_policy_version("000009", "000002")
    assert catalog.set_policy_version("000002", "000001")
    assert catalog.policy_version() == "000002"


def test_points_are_found_by_host_oldest_first_and_forgotten_by_snapshot(catalog: Catalog) -> None:
    points = [a_point(host, f"snap-{day}", a_run_id(day)) for day in (22, 21) for host in ("us0a", "eu0a")]
    for point in points:
        catalog.record_point(point)

    catalog.forget_points("snap-22", ["us0a", "eu0a", "de0a"])
    catalog.forget_points("snap-22", [])

    assert [point.snapshot_id for point in catalog.find_points("us0a")] == ["snap-21"]
    assert sorted(point.host_id for point in catalog.find_points()) == ["eu0a", "us0a"]


def test_of_a_snapshot_every_point_of_however_many_hosts_is_forgotten(catalog: Catalog) -> None:
    host_ids = [f"h{number:03d}" for number in range(60)]
    for host_id in host_ids:
        catalog.record_point(a_point(host_id, "snap-1"))
    catalog.record_point(a_point("h000", "snap-2"))

    catalog.forget_points("snap-1", host_ids)

    assert catalog.find_points() == [a_point("h000", "snap-2")]


def test_forgetting_points_asks_as_little_of_the_table_however_many_others_it_holds(account: Account) -> None:
    catalog, asked = the_dynamos(account), []
    for number in range(40):
        catalog.record_point(a_point(snapshot_id=f"snap-{number}"))
    account.clients.dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: asked.append(model.name))

    catalog.forget_points("snap-7", [f"h{number:03d}" for number in range(50)])

    assert asked == ["BatchWriteItem"] * 2


def test_what_the_table_had_no_throughput_for_is_forgotten_all_the_same(account: Account) -> None:
    catalog = the_dynamos(account)
    catalog.record_point(a_point())
    account.clients.dynamodb.batch_write_item = (  # type: ignore[method-assign]
        lambda RequestItems: {"UnprocessedItems": RequestItems}
    )

    catalog.forget_points("snap-1", ["us0a"])

    assert catalog.find_points() == []


def test_recording_a_point_again_keeps_its_proof(catalog: Catalog) -> None:
    proven = a_point(proven=a_moment(9))
    catalog.record_point(a_point())
    catalog.mark_proven(proven)

    catalog.record_point(a_point())

    assert catalog.find_points() == [proven]


def test_a_proof_is_taken_back(catalog: Catalog) -> None:
    catalog.record_point(a_point(proven=a_moment(9)))

    catalog.mark_proven(a_point(proven=None))

    assert catalog.find_points() == [a_point()]


def test_a_point_that_was_forgotten_is_not_brought_back_by_its_proof(catalog: Catalog) -> None:
    catalog.mark_proven(a_point(proven=a_moment(9)))

    assert catalog.find_points() == []


def test_every_point_is_found_on_however_many_pages(catalog: Catalog) -> None:
    long_key = "m" * 20_000
    for number in range(80):
        catalog.record_point(replace(a_point(snapshot_id=f"snap-{number:03d}"), manifest=long_key))

    assert len(catalog.find_points("us0a")) == 80


def test_a_recovery_is_opened_once_saved_by_one_and_found_by_host(catalog: Catalog) -> None:
    recovery = replace(a_recovery(), start=("service nginx start", "service ssh start"))

    assert catalog.open_recovery(recovery)
    assert not catalog.open_recovery(recovery)
    times = Times(a_moment(9, 5), {"mount": 0.25, "image boot": 12.4})
    stands = replace(recovery, address="203.0.113.9", zone="zone-b", instance_type="t4g.small")
    changed = replace(stands, verdict="opened", findings=("a",), times=times, state=RecoveryState.DONE)
    changed = replace(changed, ways=(Way(22, "198.51.100.0/24"), Way(80, "0.0.0.0/0")))
    saved = catalog.save_recovery(changed)

    assert catalog.save_recovery(recovery) is None
    assert catalog.get_recovery(recovery.id) == saved
    assert catalog.find_recoveries("us0a") == catalog.find_recoveries() == [saved]
    assert catalog.find_recoveries("eu0a") == []


def test_a_lease_is_begun_by_one_and_moved_on_only_from_where_it_was_seen(catalog: Catalog) -> None:
    assert catalog.find_lease("prune") is None
    first = catalog.save_lease(Lease("prune", a_moment(9), "invocation-1"))

    assert catalog.save_lease(Lease("prune", a_moment(10))) is None
    assert first == catalog.find_lease("prune") == Lease("prune", a_moment(9), "invocation-1", version=1)
    second = catalog.save_lease(replace(first, until=a_moment(11), holder=None))
    assert catalog.save_lease(first) is None
    assert second == catalog.find_lease("prune") == Lease("prune", a_moment(11), version=2)
    assert catalog.find_lease("copy") is None


def test_an_item_of_an_unknown_schema_is_not_guessed_at(account: Account) -> None:
    catalog = the_dynamos(account)
    catalog.open_run(a_run())
    account.clients.dynamodb.update_item(
        TableName=account.table,
        Key={"pk": {"S": "runs#main"}, "sk": {"S": "2026-11-23#000001"}},
        UpdateExpression="SET #schema = :schema",
        ExpressionAttributeNames={"#schema": "schema"},
        ExpressionAttributeValues={":schema": {"N": "9"}},
    )

    with pytest.raises(PermanentError, match="schema"):
        catalog.get_run(a_run_id())


def test_an_intent_to_copy_is_written_by_one_of_two_and_forgotten_once_it_has_served(catalog: DynamoCatalog) -> None:
    intent = CopyIntent("snap-1", "eu-central-1", attempt=1, asked=a_moment())

    first, late = catalog.save_copy_intent(intent), catalog.save_copy_intent(intent)
    assert first is not None
    again = catalog.save_copy_intent(replace(first, attempt=2, why="no key"))
    outdated = catalog.save_copy_intent(replace(first, attempt=3))

    assert (late, outdated) == (None, None)
    assert catalog.find_copy_intents() == [again] == [replace(intent, attempt=2, why="no key", version=2)]
    catalog.forget_copy_intent(intent)
    catalog.forget_copy_intent(intent)
    assert catalog.find_copy_intents() == []


def test_a_look_at_copies_comes_back_and_of_two_written_at_once_one_is(catalog: Catalog) -> None:
    lacking = Uncopied("snap-1", "main/2026-11-23/1", a_moment(5), failures=2, why="no key")
    look = Copying(
        "eu-central-1", a_moment(6), (lacking, replace(lacking, why=None)), "no answer", ("no",), a_moment(5)
    )

    first, late = catalog.save_copying(look), catalog.save_copying(look)
    assert first is not None
    again = catalog.save_copying(replace(first, seen=a_moment(7), uncopied=(), blind=None))
    elsewhere = catalog.save_copying(replace(look, place="eu-west-1"))

    assert (first, late) == (replace(look, version=1), None)
    assert catalog.find_copying() == [again, elsewhere]


def a_told(about: str = "host/us0a", told: bool = False) -> Told:
    at = a_moment(7) if told else None
    return Told(about, "missed", "host us0", "host us0 was not complete", False, a_moment(2), a_moment(6), at)


def test_what_was_told_comes_back_with_its_next_version(catalog: Catalog) -> None:
    claimed = catalog.save_told(a_told())
    assert claimed is not None

    told = catalog.save_told(replace(claimed, told=a_moment(7)))

    assert claimed == replace(a_told(), version=1)
    assert catalog.find_told() == [told] == [replace(a_told(told=True), version=2)]


def test_of_two_who_claim_a_message_one_tells_it(catalog: Catalog) -> None:
    first = catalog.save_told(a_told())
    assert first is not None

    assert catalog.save_told(a_told()) is None
    assert catalog.save_told(replace(first, told=a_moment(7))) is not None
    assert catalog.save_told(replace(first, claimed=a_moment(8))) is None


def test_what_the_table_has_lost_is_told_from_the_beginning(catalog: Catalog) -> None:
    assert catalog.save_told(replace(a_told(), version=3)) is None
    assert catalog.find_told() == []


def test_the_latest_preflight_stays_with_all_it_found_in_whatever_order_they_come(catalog: Catalog) -> None:
    found = judge(Seen(keyless=("main",), unseen={"key-1": "denied"}), None, a_moment(8))
    earlier, later = Preflight(a_moment(7)), found
    assert catalog.find_preflight() is None

    for preflight in (earlier, later, earlier):
        catalog.record_preflight(preflight)

    assert len(later.troubles) == 2
    assert catalog.find_preflight() == later


def test_the_latest_pruning_stays_in_whatever_order_they_come(catalog: Catalog) -> None:
    earlier, later = Pruning(a_moment(7)), Pruning(a_moment(8), "too many", ("snapshot snap-1",), a_moment(6))
    assert catalog.find_pruning() is None

    for pruning in (earlier, later, earlier):
        catalog.record_pruning(pruning)

    assert catalog.find_pruning() == later
