"""Policies as data: which receivers stand when, for how many hosts, and what is kept."""

from dataclasses import dataclass, replace

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

    def without(self, host: str) -> "Receiving":
        return replace(self, hosts=tuple(each for each in self.hosts if each != host) or self.hosts)

    @property
    def address_name(self) -> str:
        return f"{self.name}.example.org"


@dataclass(frozen=True)
class SomePolicy:
    receivers: tuple[Receiving, ...] = (Receiving(),)
    retention: str = "daily = 7"
    copies: str = ""
    own_hosts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        receivers = "\n".join(map(_receiver, self.receivers))
        hosts = [name for receiving in self.receivers for name in receiving.hosts]
        enrolled = "\n".join(map(_host, hosts)) + "".join(map(_own_host, self.own_hosts))
        restored = _RESTORED_ON if self.own_hosts else ""
        kept = f"[retention]\n{self.retention}\n{self._copy}"
        return f"schema = 1\n{receivers}\n{enrolled}\n{restored}{kept}{_ALARM}"

    @property
    def _copy(self) -> str:
        """Nothing while no rule says what is kept there."""
        return f'[copy]\nregion = "eu-central-1"\n[copy.retention]\n{self.copies}\n' if self.copies else ""

    def without(self, host: str) -> "SomePolicy":
        """A receiver's last host stays: there is none without."""
        return replace(self, receivers=tuple(each.without(host) for each in self.receivers))

    def with_host(self, host: str) -> "SomePolicy":
        """At the first receiver, unless it is somewhere already."""
        if any(host in each.hosts for each in self.receivers):
            return self
        first, *others = self.receivers
        return replace(self, receivers=(replace(first, hosts=(*first.hosts, host)), *others))


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


def _host(name: str) -> str:
    """Every host has a key of its own, whoever else there is."""
    key = f"ssh-ed25519 {_KEY_BODY}A{name.ljust(42, 'A')} root@{name}"
    return f'[host.{name}]\nid    = "{name}a"\nkeys  = ["{key}"]\nprobe = "http://127.0.0.1/"\n'


def _own_host(name: str) -> str:
    """On an instance of its own, whose id has the name in it."""
    return f"""
[host.{name}]
id          = "{name}a"
target      = "volume"
instance_id = "i-{name.encode().hex():0>8.8}"
probe       = "http://127.0.0.1/"
"""
