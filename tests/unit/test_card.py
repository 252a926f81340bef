"""The recovery card: what is on it, what it says when something cannot be read, and that it is a page."""

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import TreeKind
from chalicelib.errors import PermanentError, TransientError
from ebbtide_console import session
from ebbtide_console.cli import card
from ebbtide_console.cli.card import as_pdf
from ebbtide_console.cli.main import main
from ebbtide_console.past.card import Facts, Region, Server, write_card
from ebbtide_console.past.inventory import take_inventory
from tests.builders import A_NONCE, A_POLICY_TEXT, a_moment, a_run, a_run_id, a_snapshot, what_was_briefed
from tests.fakes import FakeArchive, FakeMachines, FakeVolumes

NOW = a_moment(9)
WITH_COPIES = A_POLICY_TEXT + '[copy]\nregion = "eu-central-1"\n[copy.retention]\ndaily = 2\n'


def an_account(region: str, policy: str = WITH_COPIES) -> session.Account:
    """Two nights of us0 and eu0, of which eu0 missed the second; a report of us0's second night."""
    volumes = FakeVolumes(FakeMachines())
    for day, complete in ((21, ("us0a", "eu0a")), (22, ("us0a",))):
        taken = replace(a_snapshot(f"snap-{region}-{day}", a_run_id(day), complete), key=f"key-of-{region}")
        volumes.snapshots[taken.id] = taken
    report = b'{"schema": 1, "run": "main/2026-11-22/1", "id": "us0a", "arch": "aarch64", "receiver": {}}'
    objects = {"policies/000001.toml": policy.encode(), wire.report_key(a_run(a_run_id(22)), "us0a"): report}
    for day in (21, 22):
        objects.update(what_was_briefed(a_run(a_run_id(day))))
    return session.Account("123456789012", region, f"archive-{region}", FakeArchive(objects), volumes)


def no_region(region: str) -> session.Account:
    raise TransientError("no answer from AWS")


def test_it_names_each_servers_newest_point_in_both_regions_and_what_they_hang_on() -> None:
    facts = take_inventory(an_account("us-east-1"), an_account, NOW)

    assert [region.name for region in facts.regions] == ["us-east-1", "eu-central-1"]
    assert [(each.name, each.snapshot, each.architecture) for each in facts.regions[1].servers] == [
        ("eu0", "snap-eu-central-1-21", "amd64-or-arm64"),
        ("us0", "snap-eu-central-1-22", "arm64"),
    ]
    card = write_card(facts)
    assert "ID=us0a SNAPSHOT=snap-us-east-1-22 GIB=80 ARCH=arm64 TREE=fake-super  # us0 11-22 03:00\n" in card
    assert "KMS key in eu-central-1: key-of-eu-central-1; " in card
    assert "parameter /ebbtide/main/host-key" in card


def test_a_copy_is_of_the_time_its_data_was_taken() -> None:
    account = an_account("eu-central-1", policy=A_POLICY_TEXT)
    assert isinstance(account.volumes, FakeVolumes)
    copied = {tags.ROLE: tags.Role.COPY.value, tags.TAKEN: "2026-11-23T02:45:00Z"}
    account.volumes.snapshots["snap-copy"] = a_snapshot("snap-copy", a_run_id(23), ("us0a",), extra=copied)

    [region] = take_inventory(account, no_region, NOW).regions

    assert [(each.snapshot, each.at) for each in region.servers if each.id == "us0a"] == [
        ("snap-copy", a_moment(2, 45, day=23))
    ]


def test_what_could_not_be_read_is_on_it_and_the_rest_as_well() -> None:
    account = an_account("us-east-1")
    assert isinstance(account.volumes, FakeVolumes)
    account.volumes.snapshots["snap-odd"] = a_snapshot("snap-odd", extra={tags.TREE: "a bonsai"})

    card = write_card(take_inventory(account, no_region, NOW))

    unread = [line.partition(": ")[2] for line in card.splitlines() if line.startswith("NOT READ ")]
    assert unread == [
        "snapshot snap-odd: 'a bonsai' is no kind of tree that this version knows",
        f"eu0 in main/2026-11-21/1: reports/main/2026-11-21/1/{A_NONCE}/hosts/eu0a.json is not in the archive",
        "region eu-central-1: no answer from AWS",
    ]
    assert "SNAPSHOT=snap-us-east-1-22" in card


def test_a_policy_that_this_version_cannot_read_costs_what_it_says_alone() -> None:
    facts = take_inventory(an_account("us-east-1", policy="schema = 99\n"), no_region, NOW)

    assert facts.faults[0].startswith("the newest policy: ")
    assert [each.name for each in facts.regions[0].servers] == ["eu0a", "us0a"]


class NoArchive(FakeArchive):
    """As S3 answers for a bucket that is not there."""

    def get(self, key: str) -> bytes:
        raise PermanentError(f"reading {key} from the archive: NoSuchBucket")

    def list(self, prefix: str, after: str = "", most: int | None = None) -> list[str]:
        raise PermanentError(f"listing {prefix} in the archive: NoSuchBucket")


def without_archive(region: str) -> session.Account:
    return replace(an_account(region), archive=NoArchive())


def test_without_an_archive_there_is_a_card_of_ids_and_it_says_so() -> None:
    facts = take_inventory(without_archive("us-east-1"), no_region, NOW)

    assert [(each.name, each.snapshot) for each in facts.regions[0].servers] == [
        ("eu0a", "snap-us-east-1-21"),
        ("us0a", "snap-us-east-1-22"),
    ]
    assert facts.faults == (
        "the newest policy in archive-us-east-1: listing policies/ in the archive: NoSuchBucket",
        "eu0a in main/2026-11-21/1: listing runs/main/2026-11-21/1/ in the archive: NoSuchBucket",
        "us0a in main/2026-11-22/1: listing runs/main/2026-11-22/1/ in the archive: NoSuchBucket",
    )


def test_copies_are_on_it_where_their_region_has_no_archive() -> None:
    facts = take_inventory(an_account("us-east-1"), without_archive, NOW)

    assert [each.snapshot for each in facts.regions[1].servers] == ["snap-eu-central-1-21", "snap-eu-central-1-22"]
    assert "the newest policy in archive-eu-central-1: " in "\n".join(facts.faults)


def test_with_nothing_to_bring_back_there_is_no_card() -> None:
    account = an_account("us-east-1", policy=A_POLICY_TEXT)
    assert isinstance(account.volumes, FakeVolumes)
    account.volumes.snapshots.clear()

    with pytest.raises(PermanentError, match="no restore point in us-east-1"):
        take_inventory(account, no_region, NOW)


def test_what_a_host_is_called_cannot_become_a_command() -> None:
    evil = WITH_COPIES.replace("[host.us0]", '[host."us0\\nreboot"]').replace('"us0", "eu0"', '"eu0"')

    card = write_card(take_inventory(an_account("us-east-1", policy=evil), an_account, NOW))

    assert "reboot" not in card.partition("1. CHOOSE")[2]


def test_an_older_card_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "card.txt"
    target.write_text("the older one")
    monkeypatch.setattr(session, "the_account", lambda *_: an_account("us-east-1"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        code = main(["card", "--to", str(target)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert code == 1
    assert f"cannot be written to {target}: File too large" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("card.txt", "the older one")]


def a_card_of(servers: int) -> str:
    """So many servers in two regions, whose snapshots are encrypted, and a receiver."""
    one = Server("web1.example.org", "web1", NOW, "snap-0123456789abcdef0", 16384, "amd64", TreeKind.FAKE_SUPER)
    key = "arn:aws:kms:eu-west-1:123456789012:key/0123abcd-0123-4567-89ab-0123456789ab"
    region = Region("eu-west-1", "ebbtide-dev-archive-123456789012-eu-west-1", (one,) * servers, (key,))
    return write_card(Facts("123456789012", NOW, (region, region), ("main",)))


@pytest.mark.parametrize(("servers", "pages"), [(1, 1), (2, 1), (3, 1), (10, 1), (12, 1), (20, 2), (60, 3)])
def test_it_is_one_page_for_some_servers_and_more_pages_for_many(servers: int, pages: int) -> None:
    pdf, told = as_pdf(a_card_of(servers))

    assert (pdf.count(b"/Type /Page\n"), told) == (pages, pages)


@pytest.mark.parametrize("servers", [1, 2, 13, 14, 15, 33])
def test_it_is_never_too_small_to_be_read_nor_smaller_than_one_page_takes(
    servers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: set[float] = set()
    set_font = FPDF.set_font

    def seen(pdf: FPDF, name: str, style: Any = "", size: float = 0) -> None:
        sizes.add(size)
        set_font(pdf, name, style, size)

    monkeypatch.setattr(FPDF, "set_font", seen)
    _, pages = as_pdf(a_card_of(servers))

    (size,) = sizes
    assert 6.5 <= size <= 8.2
    assert size == 8.2 or pages == 1


def test_whoever_prints_it_is_told_when_it_is_more_than_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "the_account", lambda *_: an_account("us-east-1"))
    said = []
    for servers in (3, 20):
        monkeypatch.setattr(card, "write_card", lambda _, servers=servers: a_card_of(servers))
        main(["card", "--to", str(tmp_path / "card.pdf")])
        said.append(capsys.readouterr().out)

    assert said == ["", f"{tmp_path / 'card.pdf'}: 2 pages\n"]


def test_no_command_is_wider_than_its_paper() -> None:
    card = write_card(take_inventory(an_account("us-east-1"), an_account, NOW))

    assert max(len(line) for line in card.splitlines() if line.startswith("    ")) <= 108
