"""The archive, on S3 and in the simulator: write-once, complete listings, and what is absent is a KeyError."""

import pytest

from chalicelib.aws.archive import S3Archive
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


def test_a_listing_has_every_page_and_nothing_beside_its_prefix(archive: Archive) -> None:
    keys = [f"reports/{number:04d}" for number in range(1005)]
    for key in [*keys, "reported"]:
        archive.put_once(key, b"")

    assert archive.list("reports/") == keys


def test_an_absent_bucket_is_told_with_the_key(account: Account) -> None:
    with pytest.raises(PermanentError, match="reading a from the archive"):
        S3Archive(account.clients, "no-such-bucket").get("a")
