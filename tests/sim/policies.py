"""Policies as data: which receivers stand when, for how many hosts, and what is kept."""

from dataclasses import dataclass

_ALARM = '[alarm]\ntopic = "ops"\nping  = "https://watch.example.org/ebbtide"\n'
_KEY_BODY = "AAAAC3NzaC1lZDI1NTE5AAAAI"


@dataclass(frozen=True)
class Receiving:
    """One receiver and its hosts."""

    name: str = "main"
    window: str = "02:00-06:00"
    timezone: str = "UTC"
    hosts: tuple[str, ...] = ("us0", "eu0")
    mode: str = "persistent"

    @property
    def address_name(self) -> str:
        return f"{self.name}.example.org"


@dataclass(frozen=True)
class SomePolicy:
    receivers: tuple[Receiving, ...] = (Receiving(),)
    retention: str = "daily = 7"
    own_hosts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        receivers = "\n".join(map(_receiver, self.receivers))
        hosts = [name for receiving in self.receivers for name in receiving.hosts]
        enrolled = "\n".join(_host(name, number) for number, name in enumerate(hosts))
        enrolled += "".join(_own_host(name, number) for number, name in enumerate(self.own_hosts))
        enrolled += _RESTORED_ON if self.own_hosts else ""
        return f"schema = 1\n{receivers}\n{enrolled}\n[retention]\n{self.retention}\n{_ALARM}"


ONE_RECEIVER = SomePolicy()
_RESTORED_ON = '\n[restore]\ninstance = { arm64 = "t4g.medium" }\n'


def _receiver(receiving: Receiving) -> str:
    hosts = ", ".join(f'"{name}"' for name in receiving.hosts)
    return f"""
[receiver.{receiving.name}]
window   = "{receiving.window}"
timezone = "{receiving.timezone}"
name     = "{receiving.address_name}"
allow    = ["198.51.100.0/24"]
instance = ["t4g.small", "t4g.medium"]
volume   = {{ size = "80GiB", mode = "{receiving.mode}" }}
hosts    = [{hosts}]
"""


def _host(name: str, number: int) -> str:
    """Every host has a key of its own; only the first letters of its body differ."""
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number]
    key = f"ssh-ed25519 {_KEY_BODY}{letter * 43} root@{name}"
    return f'[host.{name}]\nid    = "{name}a"\nkeys  = ["{key}"]\nprobe = "http://127.0.0.1/"\n'


def _own_host(name: str, number: int) -> str:
    return f"""
[host.{name}]
id          = "{name}a"
target      = "volume"
instance_id = "i-0000000{number}"
probe       = "http://127.0.0.1/"
"""
