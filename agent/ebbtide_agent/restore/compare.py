"""Comparing what was backed up with what was restored: entries in, findings out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ebbtide_agent.entry import Entry

MOST_FINDINGS = 50
_LONGEST_VALUE = 160


@dataclass(frozen=True)
class Comparison:
    """What the comparison found. `different` counts entries, `unhashed` files whose content nobody can vouch for.

    `unseen`: a finding where the tree is booted, of what an image that runs on an overlay does not see of it.
    """

    entries: int
    missing: int
    extra: int
    different: int
    unhashed: int
    findings: tuple[str, ...]
    unseen: str | None = None

    @property
    def identical(self) -> bool:
        return not (self.missing or self.extra or self.different)


def compare(expected: Iterable[Entry], found: Iterable[Entry]) -> Comparison:
    """Compare two trees' entries, each sorted by path bytes. Raises ValueError when one is not sorted."""
    entries = missing = extra = different = unhashed = 0
    findings: list[str] = []
    for before, after in _paired(expected, found):
        if before is None and after is not None:
            extra += 1
            findings += _room(findings, [f"{shown(after.path)}: extra, not in the manifest"])
        elif before is not None and after is None:
            entries += 1
            missing += 1
            findings += _room(findings, [f"{shown(before.path)}: missing"])
        elif before is not None and after is not None:
            entries += 1
            faults = list(differences(before, after))
            different += bool(faults)
            unhashed += before.kind == "f" and (before.sha256 is None or after.sha256 is None)
            findings += _room(findings, faults)
    return Comparison(entries, missing, extra, different, unhashed, tuple(findings))


def differences(expected: Entry, found: Entry) -> Iterator[str]:
    """One line for each attribute of an entry that differs: its path, the attribute, expected and found."""
    path = shown(expected.path)
    before, after = _attributes(expected), _attributes(found)
    for attribute in {**before, **after}:
        if before.get(attribute) != after.get(attribute):
            wanted, got = before.get(attribute, "none"), after.get(attribute, "none")
            yield f"{path}: {attribute}: expected {_clipped(wanted)}, found {_clipped(got)}"
    if expected.sha256 and found.sha256 and expected.sha256 != found.sha256:
        yield f"{path}: content: expected sha256 {expected.sha256}, found {found.sha256}"


def shown(path: bytes) -> str:
    """A path fit for any terminal."""
    return _clipped(_escaped(path))


def _attributes(entry: Entry) -> dict[str, str]:
    """Every attribute an entry has but its content, by name, in a form that is equal only if the attribute is."""
    attributes = {
        "kind": entry.kind,
        "mode": f"{entry.mode:04o}",
        "owner": f"{entry.uid}:{entry.gid}",
        "size": str(entry.size),
        "mtime": f"{entry.mtime_ns} ns",
    }
    if entry.link is not None:
        attributes["target"] = _escaped(entry.link)
    if entry.rdev is not None:
        attributes["device"] = f"{entry.rdev[0]},{entry.rdev[1]}"
    if entry.group is not None:
        attributes["hard link of"] = _escaped(entry.group)
    for name, value in entry.xattrs.items():
        attributes[f"attribute {_escaped(os.fsencode(name))}"] = value.hex()
    return attributes


def _escaped(raw: bytes) -> str:
    """Readable text as it is; a backslash, and everything that a terminal might act upon, escaped."""
    text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


def _room(findings: list[str], more: list[str]) -> list[str]:
    return more[: max(0, MOST_FINDINGS - len(findings))]


def _paired(expected: Iterable[Entry], found: Iterable[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Both sides of every path, in order: two sorted streams merged, so that neither has to fit in memory."""
    left, right = _sorted(expected), _sorted(found)
    before, after = next(left, None), next(right, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before.path < after.path):
            yield before, None
            before = next(left, None)
        elif before is None or after.path < before.path:
            yield None, after
            after = next(right, None)
        else:
            yield before, after
            before, after = next(left, None), next(right, None)


def _sorted(entries: Iterable[Entry]) -> Iterator[Entry]:
    last: bytes | None = None
    for entry in entries:
        if last is not None and entry.path <= last:
            raise ValueError(f"out of order: {shown(entry.path)} after {shown(last)}")
        last = entry.path
        yield entry
