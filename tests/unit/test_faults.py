"""What botocore raises, as one of our kinds: whether it is worth trying again."""

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from chalicelib.aws.faults import told
from chalicelib.errors import PermanentError, TransientError

URL = "https://ec2.eu-west-2.amazonaws.com/"


@pytest.mark.parametrize(
    "fault",
    [
        EndpointConnectionError(endpoint_url=URL, error="no address for this name"),
        ConnectTimeoutError(endpoint_url=URL),
        SSLError(endpoint_url=URL, error="handshake"),
        ConnectionClosedError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_whatever_kept_the_answer_away_may_go_well_the_next_time(fault: BotoCoreError) -> None:
    with (
        pytest.raises(TransientError, match="looking at snapshot snap-1: no answer from AWS"),
        told("looking at snapshot snap-1"),
    ):
        raise fault


def test_what_no_second_try_mends_is_none_of_these() -> None:
    with pytest.raises(PermanentError, match="reading pk sk"), told("reading pk sk"):
        raise NoCredentialsError
