"""Ids: what is read is what was written, and every token and uid follows from an id alone."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.ids import (
    HOST_ID,
    RECEIVER_NAME,
    host_uid,
    launch_token,
    own_host,
    own_run,
    parse_recovery,
    parse_run,
    recovery_volume_token,
    reported_at,
    volume_token,
)
from chalicelib.core.model import RecoveryId, RunId
from chalicelib.errors import PermanentError

receivers = st.from_regex(RECEIVER_NAME, fullmatch=True)
host_ids = st.from_regex(HOST_ID, fullmatch=True)
attempts = st.integers(1, 999)
runs = st.builds(RunId, receivers, st.dates(), attempts)
recoveries = st.builds(RecoveryId, host_ids, st.dates(), attempts)


@given(runs)
def test_a_run_id_is_read_as_it_was_written(run: RunId) -> None:
    assert parse_run(str(run)) == run


@given(host_ids, st.datetimes(timezones=st.just(UTC)))
def test_the_run_of_a_hosts_report_says_whose_it_is_and_when_it_was_done(host_id: str, at: datetime) -> None:
    run = own_run(host_id, at)

    assert parse_run(str(run)) == run
    assert (own_host(run), reported_at(run)) == (host_id, at.replace(microsecond=0))


@given(runs)
def test_no_receivers_run_is_a_hosts(run: RunId) -> None:
    assert own_host(run) is None


def test_a_day_has_no_more_seconds_than_it_has() -> None:
    assert reported_at(parse_run("host.web1/2026-11-23/86400")) == datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC)
    with pytest.raises(PermanentError, match="expected a second of the day"):
        reported_at(parse_run("host.web1/2026-11-23/86401"))


@given(recoveries)
def test_a_recovery_id_is_read_as_it_was_written(recovery: RecoveryId) -> None:
    assert parse_recovery(str(recovery)) == recovery


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        "main/2026-11-23",
        "main/2026-11-23/0",
        "main/2026-11-23/01",
        "main/2026-02-30/1",
        "Main/2026-11-23/1",
        "../2026-11-23/1",
        "main/2026-11-23/1\n",
        "main/2026-11-23/1/x",
        "main/٢٠٢٦-11-23/1",
        "host.web/2026-11-23/1",
        "host.WEB1/2026-11-23/1",
        "hosts.web1/2026-11-23/1",
        "host.web1x/2026-11-23/1",
    ],
)
def test_what_is_no_run_id_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(PermanentError) as refused:
        parse_run(text)

    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["us0/2026-11-23/1", "us0ab/2026-11-23/1", "US0A/2026-11-23/1", "us0a/2026-13-01/1"])
def test_what_is_no_recovery_id_is_refused(text: str) -> None:
    with pytest.raises(PermanentError, match="no recovery id"):
        parse_recovery(text)


def test_a_launch_token_fits_ec2_and_changes_with_run_and_attempt() -> None:
    first = RunId("main", date(2026, 11, 23), 1)
    second = RunId("main", date(2026, 11, 23), 2)

    tokens = {launch_token(first, 1), launch_token(first, 2), launch_token(second, 1)}

    assert len(tokens) == 3
    assert all(len(token) == 64 for token in tokens)
    assert launch_token(first, 1) in tokens


def test_a_volume_has_a_token_of_its_own_in_every_zone_and_for_every_run() -> None:
    runs = [RunId("main", date(2026, 11, 23), attempt) for attempt in (1, 2)]

    assert len({volume_token(run, zone) for run in runs for zone in ("eu-west-1a", "eu-west-1b")}) == 4


def test_the_tokens_never_change_between_releases() -> None:
    run = RunId("main", date(2026, 11, 23), 1)
    recovery = RecoveryId("us0a", date(2026, 11, 23), 1)

    tokens = (launch_token(run, 1), volume_token(run, "eu-west-1a"), recovery_volume_token(recovery))

    assert [token[:16] for token in tokens] == ["e4eef4377bd38d42", "5dd1cb880d2e33c3", "4670fa7538b99730"]


@given(host_ids, host_ids)
def test_two_hosts_never_share_a_uid_or_one_of_the_system(one: str, other: str) -> None:
    uids = {host_uid(one), host_uid(other)}

    assert len(uids) == len({one, other})
    assert all(1_000_000 <= uid < 2**31 for uid in uids)


@pytest.mark.parametrize("text", ["", "us0", "us0ab", "US0A", "us-a", "us٠a"])
def test_a_uid_is_only_given_to_a_host_id(text: str) -> None:
    with pytest.raises(PermanentError, match="no host id"):
        host_uid(text)
