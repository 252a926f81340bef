"""That a snapshot was found damaged, for whoever has a copy of it; and there, that it was taken to heart: each once."""

from chalicelib.core.model import Snapshot
from chalicelib.core.tags import DAMAGED as FOUND_DAMAGED
from chalicelib.fields import read, written

DAMAGED = "damaged/"
HEEDED = "heeded/"


def damage_key(snapshot_id: str) -> str:
    return f"{DAMAGED}{snapshot_id}.json"


def heeded_key(copy_id: str) -> str:
    return f"{HEEDED}{copy_id}.json"


def damage_record(snapshot: Snapshot) -> bytes:
    """With what its tag says: the run that found it so, or a person's word."""
    return written({"snapshot": snapshot.id, "found": snapshot.tags[FOUND_DAMAGED]})


def heeded_record(copy_id: str) -> bytes:
    return written({"snapshot": copy_id})


def parse_damage(body: bytes) -> str:
    """What the tag of the snapshot says. Raises PermanentError."""
    return read("damage", body).text("found")
