"""Which of the keys that we know of the archive has, whatever else who was taken over has written beside them."""

from collections.abc import Collection

from chalicelib.ports import Archive


def find_own_keys(prefix: str, own: Collection[str], archive: Archive) -> frozenset[str]:
    """All of `own` begin with the prefix. One look tells of all of them, as long as what it shows is no more than that;
    where names without end lie beside them each is looked for by itself.
    """
    shown = archive.list(prefix, most=len(own) + 1)
    if len(shown) <= len(own):
        return frozenset(own).intersection(shown)
    return frozenset(key for key in own if archive.list(key, most=1) == [key])
