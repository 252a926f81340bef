"""The names a night is known by: ids read from text, and the tokens and uids that follow from them."""

import re
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from chalicelib.core.model import RecoveryId, RunId
from chalicelib.errors import PermanentError

RECEIVER_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
HOST_ID = re.compile(r"[a-z0-9]{4}")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*")

# Before a host's id, where a receiver's name would stand: no receiver's name has a dot.
_OWN = "host."
# What they are called together, where no host may stand by itself.
OWN_VOLUMES = f"{_OWN}*"

_DAY_AND_ATTEMPT = r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/(?P<attempt>[1-9][0-9]{0,8})"
_RUN = re.compile(rf"(?P<owner>{RECEIVER_NAME.pattern}|{re.escape(_OWN)}{HOST_ID.pattern})/{_DAY_AND_ATTEMPT}")
_RECOVERY = re.compile(rf"(?P<owner>{HOST_ID.pattern})/{_DAY_AND_ATTEMPT}")

# Far above every uid a distribution hands out, so that no account of the receiver is ever a host's.
_FIRST_HOST_UID = 1_000_000


def parse_run(text: str) -> RunId:
    """The run a text such as `main/2026-11-23/1` names. Raises PermanentError."""
    return RunId(*_split(text, _RUN, "run", "main/2026-11-23/1"))


# -- runs of hosts with a volume of their own --------------------------------------------------------------------------


def own_word(host_id: str) -> str:
    """What stands in a run's id in place of a receiver, for a host with a volume of its own. Raises PermanentError."""
    return f"{_OWN}{checked_host_id(host_id)}"


def own_run(host_id: str, at: datetime) -> RunId:
    """The run of a report: of this host, which was done at `at`. The attempt is the second of its day in UTC, from 1.

    So it follows from the report alone: the same report never opens a second run, and no two of a host share one.
    """
    at = at.astimezone(UTC)
    midnight = datetime.combine(at.date(), time(tzinfo=UTC))
    return RunId(own_word(host_id), at.date(), 1 + (at - midnight) // timedelta(seconds=1))


def own_host(run: RunId) -> str | None:
    """The id of the host whose own volume the run is about; None for a receiver's run."""
    return run.receiver.removeprefix(_OWN) if run.receiver.startswith(_OWN) else None


def said_of(word: str) -> str:
    """Whose runs these are, as people say it: what stands in a run's id is a receiver's name or such a host's word."""
    return f"host {word.removeprefix(_OWN)}" if word.startswith(_OWN) else f"receiver {word}"


def reported_at(run: RunId) -> datetime:
    """When the host of an own run was done. Raises PermanentError for an attempt that is no second of a day."""
    at = datetime.combine(run.day, time(tzinfo=UTC)) + timedelta(seconds=run.attempt - 1)
    if at.date() != run.day:
        raise PermanentError(f"{run} is no run of a host: expected a second of the day from 1 to 86400")
    return at


# -- recoveries, tokens, uids ------------------------------------------------------------------------------------------


def parse_recovery(text: str) -> RecoveryId:
    """The recovery a text such as `us0a/2026-11-23/1` names. Raises PermanentError."""
    return RecoveryId(*_split(text, _RECOVERY, "recovery", "us0a/2026-11-23/1"))


def _split(text: str, shape: re.Pattern[str], noun: str, example: str) -> tuple[str, date, int]:
    match = shape.fullmatch(text)
    if match is None:
        raise PermanentError(f"{text!r} is no {noun} id: expected one like {example}")
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        raise PermanentError(f"{text!r} is no {noun} id: {match['day']} is not a day of the calendar") from None
    return match["owner"], day, int(match["attempt"])


def launch_token(owner: RunId | RecoveryId, attempt: int) -> str:
    """RunInstances' ClientToken: 64 characters, EC2's limit.

    The attempt belongs in it, because EC2 refuses the token of an instance that has been terminated.
    """
    return _token(f"{owner}#{attempt}")


def trial_token(machine: str, at: str) -> str:
    """RunInstances' ClientToken for a dry run, which must not be that of any other request."""
    return _token(f"trial of {machine} at {at}")


def volume_token(run: RunId, zone: str, damaged: int = 0) -> str:
    """CreateVolume's ClientToken for the data volume made for a run in a zone: the same for every try of the run, and
    another for every run, because a lost volume's token is never asked for again; and another once so many volumes of
    the run were found damaged."""
    return _token(f"volume {run} in {zone}" + (f" after {damaged}" if damaged else ""))


def recovery_volume_token(recovery: RecoveryId, attempt: int = 1) -> str:
    """CreateVolume's ClientToken for the throw-away volume of a recovery's machine, each of which has its own."""
    return _token(f"volume {recovery}" + (f"#{attempt}" if attempt > 1 else ""))


def _token(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def host_uid(host_id: str) -> int:
    """The uid that owns this host's tree on a receiver: follows from the id alone. Raises PermanentError."""
    return _FIRST_HOST_UID + int(checked_host_id(host_id), 36)


def checked_host_id(text: str) -> str:
    """The same text, if it is a host id. Raises PermanentError."""
    if HOST_ID.fullmatch(text) is None:
        raise PermanentError(f"{text!r} is no host id: expected four of a-z and 0-9, like us0a")
    return text
