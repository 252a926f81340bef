"""What a resource says of itself in EC2 tags: enough to find it, to keep it, and to rebuild the catalogue."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from chalicelib.core.ids import checked_host_id
from chalicelib.core.model import SCHEMA as CURRENT_SCHEMA
from chalicelib.core.model import RunId, TreeKind
from chalicelib.errors import PermanentError

SCHEMA = "ebbtide:schema"
ROLE = "ebbtide:role"
RECEIVER = "ebbtide:receiver"
RUN = "ebbtide:run"
MADE_FOR = "ebbtide:made-for"  # on a data volume, which outlives the run it was made for: no RUN, no EXPIRES
MADE_FROM = "ebbtide:made-from"  # on a data volume: the snapshot whose content it began with
DAMAGED = "ebbtide:damaged"  # on a snapshot: the run in which what was made of it was found damaged
HOST = "ebbtide:host"  # on a host's own volume, by its operator: the host's id
RECOVERY = "ebbtide:recovery"
ATTEMPT = "ebbtide:attempt"
EXPIRES = "ebbtide:expires"
TREE = "ebbtide:tree"
COMPLETE = "ebbtide:complete."
CONSISTENCY = "ebbtide:consistency"
MARKED = "ebbtide:marked"
HOLD = "ebbtide:hold"
SOURCE = "ebbtide:source"
SOURCE_REGION = "ebbtide:source-region"
TAKEN = "ebbtide:taken"
HOLD_BY = "ebbtide:hold-by"
HOLD_SINCE = "ebbtide:hold-since"
NAME = "Name"

# EC2's limits: 50 tags a resource, 256 characters a value. 8 tags of 64 ids leave room and hold 512 hosts.
_ID_LENGTH = 4
_IDS_PER_TAG = 256 // _ID_LENGTH
_COMPLETE_TAGS = 8
MOST_HOSTS = _IDS_PER_TAG * _COMPLETE_TAGS


class Role(StrEnum):
    """What a tagged resource is to us: an instance, a data volume, one that was set aside, a host's own volume, a
    recovery's own, a backup snapshot, its copy."""

    RECEIVER = "receiver"
    DATA = "data"
    ASIDE = "aside"
    HOST = "host"
    RECOVERY = "recovery"
    BACKUP = "backup"
    COPY = "copy"


class Consistency(StrEnum):
    """Whether the receiver had let go of the volume when the snapshot was taken."""

    RELEASED = "released"
    CRASH = "crash"


def pack(host_ids: Iterable[str]) -> dict[str, str]:
    """The ids in as few tags as hold them, 64 to a tag, sorted. Raises PermanentError for more than 512."""
    ids = sorted({checked_host_id(host_id) for host_id in host_ids})
    if len(ids) > MOST_HOSTS:
        raise PermanentError(
            f"{len(ids)} hosts do not fit into the tags of one snapshot: give this receiver at most {MOST_HOSTS}"
        )
    return {
        f"{COMPLETE}{number}": "".join(ids[start : start + _IDS_PER_TAG])
        for number, start in enumerate(range(0, len(ids), _IDS_PER_TAG))
    }


def unpack(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The ids that `pack` put there, sorted; other tags are ignored. Raises PermanentError for a damaged tag."""
    values = (tags.get(f"{COMPLETE}{number}", "") for number in range(_COMPLETE_TAGS))
    return tuple(sorted({host_id for value in values if value for host_id in _ids_in(value)}))


def _ids_in(value: str) -> Iterable[str]:
    return (checked_host_id(value[start : start + _ID_LENGTH]) for start in range(0, len(value), _ID_LENGTH))


def snapshot_tags(run: RunId, complete: Iterable[str], tree: TreeKind, consistency: Consistency) -> dict[str, str]:
    """Everything a backup snapshot must say for the catalogue to be rebuilt from it."""
    return {
        NAME: f"ebbtide {run}",
        SCHEMA: str(CURRENT_SCHEMA),
        ROLE: Role.BACKUP,
        RECEIVER: run.receiver,
        RUN: str(run),
        TREE: tree,
        CONSISTENCY: consistency,
        **pack(complete),
    }


def expiry_of(tagged: Mapping[str, str]) -> datetime | None:
    """None for a tag that is missing, and for one that is no time with a zone: it does not say when."""
    try:
        expiry = datetime.fromisoformat(tagged.get(EXPIRES, ""))
    except ValueError:
        return None
    return expiry if expiry.tzinfo else None
