"""What the archive may not have."""

from chalicelib.ports import Archive


def find_object(key: str, archive: Archive) -> bytes | None:
    try:
        return archive.get(key)
    except KeyError:
        return None
