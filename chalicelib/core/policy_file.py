"""From a policy's text to the policy: all of it is checked, and every fault is told at once."""

import tomllib
from collections.abc import Mapping
from typing import Any

from chalicelib.core import policy_keys
from chalicelib.core.checks import Faults
from chalicelib.core.policy import (
    AlarmPolicy,
    CopyPolicy,
    DrillPolicy,
    HostPolicy,
    Policy,
    ReceiverPolicy,
    RestorePolicy,
    VaultPolicy,
    VolumePolicy,
)
from chalicelib.core.policy_sense import check_sense
from chalicelib.core.retention import Rules
from chalicelib.errors import ConfigError

# What a table held against its keys has become: converted values by key.
_Table = Mapping[str, Any]


def parse(text: str, version: str, file: str = "policy.toml") -> Policy:
    """The policy this text says.

    Raises ConfigError with every fault: the file, the path of the key, its value, what was expected.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{file}: this is not TOML: {error}",)) from None
    faults = Faults()
    table = policy_keys.POLICY.read(document, "", faults)
    check_sense(table, faults)
    if faults.found:
        raise ConfigError(tuple(f"{file}: {fault}" for fault in faults.found))
    return _policy(version, table)


def ids_named_in(text: str) -> dict[str, str]:
    """The id of every host that a policy's text names, whatever else is wrong with it by today's rules."""
    try:
        hosts = tomllib.loads(text).get("host")
    except tomllib.TOMLDecodeError:
        return {}
    tables = hosts.items() if isinstance(hosts, dict) else ()
    return {name: str(table["id"]) for name, table in tables if isinstance(table, dict) and "id" in table}


def _policy(version: str, table: _Table) -> Policy:
    return Policy(
        version=version,
        receivers={name: _receiver(name, each) for name, each in (table["receiver"] or {}).items()},
        hosts={name: _host(name, each) for name, each in table["host"].items()},
        retention=Rules(**(table["retention"] or {})),
        copy=table["copy"] and CopyPolicy(table["copy"]["region"], Rules(**table["copy"]["retention"])),
        vault=table["vault"] and VaultPolicy(table["vault"]["account"], Rules(**table["vault"]["retention"])),
        restore=_restore(table["restore"] or {}),
        drill=_drill(table["drill"] or {}),
        alarm=AlarmPolicy(**(table["alarm"] or {})),
    )


def _receiver(name: str, table: _Table) -> ReceiverPolicy:
    start, end = table["window"]
    return ReceiverPolicy(
        name=name,
        start=start,
        end=end,
        timezone=table["timezone"],
        address_name=table["name"],
        address_kind=table["address"],
        allow=table["allow"],
        instances=table["instance"],
        volume=_volume(table["volume"]),
        hosts=table["hosts"],
    )


def _volume(table: _Table) -> VolumePolicy:
    return VolumePolicy(table["size"], table["type"], table["filesystem"], table["mode"])


def _host(name: str, table: _Table) -> HostPolicy:
    return HostPolicy(
        name=name,
        id=table["id"],
        keys=table["keys"],
        probe=table["probe"],
        start_list=table["start"],
        quota_gib=table["quota"],
        alarm_after=table["alarm_after"],
        guard=table["guard"],
        target=table["target"],
        instance_id=table["instance_id"],
        retention=table["retention"] and Rules(**table["retention"]),
    )


def _drill(table: _Table) -> DrillPolicy:
    return DrillPolicy(table.get("every"), table.get("budget"))


def _restore(table: _Table) -> RestorePolicy:
    instances = table.get("instance") or {}
    return RestorePolicy(
        table.get("subnet"), {arch: kind for arch, kind in instances.items() if kind}, tuple(table.get("readers", ()))
    )
