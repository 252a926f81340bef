"""What AWS says when it refuses, as the four kinds of error."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from chalicelib.errors import CapacityError, PermanentError, TokenSpentError, TransientError

_CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientCapacity",
    "Unsupported",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
}
_TOKEN_SPENT = {"IdempotentInstanceTerminated"}
_TRANSIENT = {
    "ConcurrentSnapshotLimitExceeded",
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
    "TransactionInProgressException",
    "Unavailable",
    "VolumeInUse",
}
_SERVER_FAULT = 500


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise what happens inside as one of our kinds; `doing` says which noun and id."""
    try:
        yield
    except ClientError as error:
        raise _kind(error)(f"{doing}: {error}") from error
    except HTTPClientError as error:
        raise TransientError(f"{doing}: no answer from AWS, it may have happened all the same ({error})") from error
    except BotoCoreError as error:
        raise PermanentError(f"{doing}: {error}") from error


def _kind(error: ClientError) -> type[TransientError] | type[PermanentError]:
    code = code_of(error)
    if code in _CAPACITY:
        return CapacityError
    if code in _TOKEN_SPENT:
        return TokenSpentError
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _TRANSIENT or status >= _SERVER_FAULT:
        return TransientError
    return PermanentError
