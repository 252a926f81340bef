"""The archive, on S3 and in the simulator: write-once, complete listings, and what is absent is a KeyError."""

import io

import pytest

from chalicelib.aws.archive import LARGEST, S3Archive
from chalicelib.errors import PermanentError
from chalicelib.ports import Archive
from tests.contract.aws import Account
from tests.contract.clouds import BOTH
from tests.fakes import FakeArchive


@pytest.fixture(params=BOTH)
def archive(request: pytest.FixtureRequest) -> Archive:
    return the_buckets(request.getfixturevalue("account")) if request.param == "moto" else FakeArchive()


def the_buckets(account: Account) -> S3Archive:
    return S3Archive(account.clients, account.bucket)


def test_what_is_there_stays(archive: Archive) -> None:
    assert archive.put_once("runs/a.json", b"first")
    assert not archive.put_once("runs/a.json", b"second")
    assert archive.get("runs/a.json") == b"first"


def test_an_absent_object_is_a_key_error(archive: Archive) -> None:
    with pytest.raises(KeyError):
        archive.get("runs/absent.json")
    with pytest.raises(KeyError):
        archive.copy_to(io.BytesIO(), "runs/absent.json")


def test_a_listing_has_every_page_and_nothing_beside_its_prefix(archive: Archive) -> None:
    keys = [f"reports/{number:04d}" for number in range(1005)]
    for key in [*keys, "reported"]:
        archive.put_once(key, b"")

    assert archive.list("reports/") == keys
    assert archive.list("reports/", most=2) == keys[:2]
    assert archive.list("reports/", most=1005) == archive.list("reports/", most=1006) == keys


def test_a_listing_may_begin_behind_a_key(archive: Archive) -> None:
    for day in (20, 21, 22):
        archive.put_once(f"host-reports/2026-11-{day}/web1/1.json", b"")
    archive.put_once("other", b"")

    found = archive.list("host-reports/", after="host-reports/2026-11-21")

    assert found == ["host-reports/2026-11-21/web1/1.json", "host-reports/2026-11-22/web1/1.json"]


def test_an_object_that_is_larger_than_anything_of_ours_is_not_read(account: Account) -> None:
    archive = the_buckets(account)
    archive.put_once("host-reports/largest", b"x" * LARGEST)
    archive.put_once("host-reports/too-large", b"x" * (LARGEST + 1))

    assert len(archive.get("host-reports/largest")) == LARGEST
    with pytest.raises(PermanentError, match="too-large has 4194305 bytes"):
        archive.get("host-reports/too-large")


def test_a_file_takes_an_object_however_large_it_is(archive: Archive) -> None:
    body = b"x" * (LARGEST + 1)
    archive.put_once("manifests/large", body)
    taken = io.BytesIO()

    archive.copy_to(taken, "manifests/large")

    assert taken.getvalue() == body


def test_an_absent_bucket_is_told_with_the_key(account: Account) -> None:
    with pytest.raises(PermanentError, match="reading a from the archive"):
        S3Archive(account.clients, "no-such-bucket").get("a")
