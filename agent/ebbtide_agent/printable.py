"""Paths as they can be shown: one line, whatever their bytes."""

from __future__ import annotations


def printable(raw: bytes) -> str:
    """What is no UTF-8, or would move a terminal's cursor, shows as an escape."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
