"""Whether valid values make sense together: hosts that exist, ids and keys of one host only, one receiver each.

What did not pass its own check is missing from the tables here, so nothing is faulted twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import time
from typing import Any

from chalicelib.core.checks import Faults, within
from chalicelib.core.policy_keys import RETENTION
from chalicelib.core.policy_values import architecture_of
from chalicelib.core.tags import MOST_HOSTS
from chalicelib.core.windows import LONGEST, SHORTEST, length_of

_Table = Mapping[str, Any]


def check_sense(policy: _Table, faults: Faults) -> None:
    """Add a fault for everything that contradicts something else."""
    receivers, hosts = policy.get("receiver") or {}, policy.get("host", {})
    for name, receiver in receivers.items():
        _check_receiver(within("receiver", name), receiver, faults)
    for name, host in hosts.items():
        _check_host(within("host", name), host, faults)
    _check_names_are_apart(receivers, faults)
    _check_hosts_are_apart(hosts, faults)
    _check_keys_are_apart((policy.get("restore") or {}).get("readers", ()), hosts, faults)
    if "receiver" in policy and hosts:
        _check_they_know_each_other(receivers, hosts, faults)
    _check_rules("retention", policy.get("retention"), faults)
    _check_rules("copy.retention", (policy.get("copy") or {}).get("retention"), faults)
    _check_rules("vault.retention", (policy.get("vault") or {}).get("retention"), faults)
    _check_restore((policy.get("restore") or {}).get("instance") or {}, faults)


def _check_receiver(path: str, receiver: _Table, faults: Faults) -> None:
    if "window" in receiver:
        _check_window(f"{path}.window", receiver["window"], faults)
    if len(receiver.get("hosts", ())) > MOST_HOSTS:
        faults.add(f"{path}.hosts", f" has {len(receiver['hosts'])} entries: expected at most {MOST_HOSTS}")
    instances = receiver.get("instance", ())
    if len({architecture_of(instance) for instance in instances}) > 1:
        faults.wrong(f"{path}.instance", instances, "types of one architecture, because they boot one image")


def _check_window(path: str, window: tuple[time, time], faults: Faults) -> None:
    start, end = window
    shown, length = f"{start:%H:%M}-{end:%H:%M}", length_of(start, end)
    if length < SHORTEST:
        faults.wrong(path, shown, "30 minutes or more: a receiver has to start, and hosts have to push")
    if length > LONGEST:
        faults.wrong(path, shown, "21 hours or less: the night has to be over before the next one begins")


def _check_host(path: str, host: _Table, faults: Faults) -> None:
    on_volume = host.get("target") == "volume"
    if on_volume and host.get("instance_id", "") is None:
        faults.add(f"{path}.instance_id", ' is missing: expected the instance of a host with target = "volume"')
    if not on_volume and host.get("instance_id") and "target" in host:
        faults.wrong(f"{path}.instance_id", host["instance_id"], 'no instance without target = "volume"')
    if not on_volume and host.get("keys") == ():
        faults.add(f"{path}.keys", " is missing: expected the key that the host connects with")
    _check_rules(f"{path}.retention", host.get("retention"), faults)


def _check_names_are_apart(receivers: _Table, faults: Faults) -> None:
    named = [(within("receiver", name) + ".name", each["name"]) for name, each in receivers.items() if "name" in each]
    for path, other, value in _repeated(named):
        faults.wrong(path, value, f"a name of its own, not that of {other}")


def _check_they_know_each_other(receivers: _Table, hosts: _Table, faults: Faults) -> None:
    """Every host a receiver names is there to be received, and every host that pushes to one is named once."""
    receivers_of: dict[str, dict[str, None]] = defaultdict(dict)
    for receiver, each in receivers.items():
        for index, name in enumerate(each.get("hosts", ())):
            receivers_of[name][receiver] = None
            _check_is_received(f"{within('receiver', receiver)}.hosts[{index}]", name, hosts, faults)
    for name, named_by in receivers_of.items():
        if len(named_by) > 1:
            faults.add(within("host", name), f" is named by receivers {', '.join(named_by)}: expected only one of them")
    all_known = all("hosts" in each for each in receivers.values())
    for name, host in hosts.items():
        if all_known and host.get("target") == "receiver" and name not in receivers_of:
            faults.add(within("host", name), " is named by no receiver: expected it in the hosts of one")


def _check_is_received(path: str, name: str, hosts: _Table, faults: Faults) -> None:
    if name not in hosts:
        faults.wrong(path, name, f"a host with a table [{within('host', name)}]")
    elif hosts[name].get("target") == "volume":
        faults.wrong(path, name, 'a host whose target is not "volume"')


def _check_hosts_are_apart(hosts: _Table, faults: Faults) -> None:
    ids = [(within("host", name) + ".id", host["id"]) for name, host in hosts.items() if "id" in host]
    for path, other, value in _repeated(ids):
        faults.wrong(path, value, f"an id of its own, not that of {other}")
    for path, value in ids:
        if value in hosts and path != within("host", value) + ".id":
            faults.wrong(path, value, f"an id that is not the name of another host: {within('host', value)}")


def _check_keys_are_apart(readers: Sequence[str], hosts: _Table, faults: Faults) -> None:
    """A key says who comes: that of another host, or of an operator, would open more."""
    keys = [
        (f"{within('host', name)}.keys[{index}]", _without_comment(key))
        for name, host in hosts.items()
        for index, key in enumerate(host.get("keys", ()))
    ]
    keys += [(f"restore.readers[{index}]", _without_comment(key)) for index, key in enumerate(readers)]
    for path, other, value in _repeated(keys):
        faults.wrong(path, value, f"a key of its own, not that of {other}")


def _without_comment(key: str) -> str:
    return " ".join(key.split()[:2])


def _repeated(values: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Where a value stands again, where it stood first, and the value."""
    first: dict[str, str] = {}
    for path, value in values:
        if first.setdefault(value, path) != path:
            yield path, first[value], value


def _check_rules(path: str, rules: _Table | None, faults: Faults) -> None:
    if rules is not None and len(rules) == len(RETENTION.keys) and not any(rules.values()):
        faults.add(path, " has no rule above 0: expected one, or no such table, which keeps everything")


def _check_restore(instances: _Table, faults: Faults) -> None:
    for architecture, instance in instances.items():
        if instance is not None and architecture_of(instance) != architecture:
            faults.wrong(f"restore.instance.{architecture}", instance, f"an instance type of {architecture}")
