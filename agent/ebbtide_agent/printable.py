"""What is shown on a screen: paths, one line each, whatever their bytes, and amounts."""

from __future__ import annotations


def printable(raw: bytes) -> str:
    """What is no UTF-8, or would move a terminal's cursor, shows as an escape."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def size(count: int) -> str:
    """Bytes in the largest unit of which there is at least one."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
