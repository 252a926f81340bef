"""What AWS says when it refuses, as the four kinds of error."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError

from chalicelib.errors import CapacityError, PermanentError, TokenSpentError, TokenTakenError, TransientError

_CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientCapacity",
    "InsufficientVolumeCapacity",
    "Unsupported",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
}
_TOKEN_SPENT = {"IdempotentInstanceTerminated"}
_TOKEN_TAKEN = {"IdempotentParameterMismatch"}
_TRANSIENT = {
    "ConcurrentSnapshotLimitExceeded",
    "ConditionalRequestConflict",
    "EC2ThrottledException",
    "IncorrectState",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RateExceeded",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestThrottled",
    "ResourceLimitExceeded",
    "ServiceUnavailable",
    "SlowDown",
    "SnapshotCreationPerVolumeRateExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionCanceledException",
    "TransactionInProgressException",
    "Unavailable",
    "VolumeInUse",
}
_SERVER_FAULT = 500
# What lies between us and AWS. botocore's own ConnectionError (no name, no route, no handshake in time) is none of its
# HTTPClientErrors.
_ON_THE_WAY = (ConnectionError, HTTPClientError, IncompleteReadError)


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def cancellations_of(error: ClientError) -> tuple[str, ...]:
    """Why each part of a DynamoDB transaction was not written; empty for any other error."""
    reasons = error.response.get("CancellationReasons", [])
    return tuple(str(reason.get("Code")) for reason in reasons)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise what happens inside as one of our kinds; `doing` says which noun and id."""
    try:
        yield
    except ClientError as error:
        raise _kind(error)(f"{doing}: {error}") from error
    except _ON_THE_WAY as error:
        raise TransientError(f"{doing}: no answer from AWS, it may have happened all the same ({error})") from error
    except BotoCoreError as error:
        raise PermanentError(f"{doing}: {error}") from error


def _kind(error: ClientError) -> type[TransientError] | type[PermanentError]:
    code = code_of(error)
    if code in _CAPACITY:
        return CapacityError
    if code in _TOKEN_SPENT:
        return TokenSpentError
    if code in _TOKEN_TAKEN:
        return TokenTakenError
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _TRANSIENT or status >= _SERVER_FAULT:
        return TransientError
    return PermanentError
