"""What a new policy changes in the old one, in the words of the policy file, for the operator to read."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from chalicelib.core.checks import within
from chalicelib.core.policy import Policy, ReceiverPolicy

_NONE = "none"

# Fields that the file calls otherwise, and the unit it writes behind the number.
_WORDS = {
    "receivers": ("receiver", ""),
    "hosts": ("host", ""),
    "instances": ("instance", ""),
    "address_name": ("name", ""),
    "address_kind": ("address", ""),
    "size_gib": ("size", "GiB"),
    "quota_gib": ("quota", "GiB"),
    "start_list": ("start", ""),
    "every_days": ("every", " days"),
}

# The version is given by us, a name stands in the path already, and a window is told as a whole.
_UNTOLD = ("version", "name", "start", "end")


def describe_changes(old: Policy | None, new: Policy) -> list[str]:
    """One line for everything that comes, goes or becomes something else; none when both mean the same."""
    before, after = _told(old), _told(new)
    came, gone = _sections(new) - _sections(old), _sections(old) - _sections(new)
    changed = [
        f"{path}: {before.get(path, _NONE)} → {after.get(path, _NONE)}"
        for path in before | after
        if before.get(path) != after.get(path) and not _is_in(path, came | gone)
    ]
    return [
        *(f"{section}: added" for section in sorted(came)),
        *(f"{section}: removed; its restore points stay" for section in sorted(gone)),
        *changed,
    ]


def _sections(policy: Policy | None) -> set[str]:
    if policy is None:
        return set()
    return {within("receiver", name) for name in policy.receivers} | {within("host", name) for name in policy.hosts}


def _is_in(path: str, sections: set[str]) -> bool:
    return any(path.startswith(f"{section}.") for section in sections)


def _told(policy: Policy | None) -> dict[str, str]:
    return {} if policy is None else dict(_settings("", policy))


def _settings(path: str, value: object, unit: str = "") -> Iterator[tuple[str, str]]:
    """Every single setting below this path, as text; what is not set is not told, nor is a rule at 0."""
    if isinstance(value, ReceiverPolicy):
        yield f"{path}.window", f"{value.start:%H:%M}-{value.end:%H:%M}"
    if is_dataclass(value):
        for field in fields(value):
            if field.name not in _UNTOLD:
                key, its_unit = _WORDS.get(field.name, (field.name, ""))
                yield from _settings(f"{path}.{key}" if path else key, getattr(value, field.name), its_unit)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _settings(within(path, name), each)
    elif isinstance(value, tuple):
        yield path, ", ".join(value) or _NONE
    elif value:
        yield path, f"{value}{unit}"
