"""Enrols the sandbox's hosts: keys, the files of /etc that an administrator would write, and the policy."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_console import procs
from ebbtide_console.sandbox.trees import Source

RECEIVER = "main"
HOST_IDS = {"us0": "us0a", "eu0": "eu0a"}
WINDOW = timedelta(hours=4)

NIGHTLY_SCRIPT = """\
#!/bin/sh
# What stands where a database dump would: {host} writes down what it is just before it is copied.
exec >'{place}/state-of-the-day'
date --iso-8601=seconds
ls -lR '{root}/etc' | cksum
"""

POLICY = """\
# The sandbox's policy: the window opened when the night was started.
schema = 1

[receiver.{receiver}]
window   = "{start:%H:%M}-{end:%H:%M}"
timezone = "UTC"
name     = "{name}"
allow    = [{allow}]
instance = ["t4g.small"]
volume   = {{ size = "{size_gib}GiB", type = "gp3", filesystem = "ext4" }}
hosts    = [{hosts}]
{host_tables}
[retention]
daily = 7
weekly = 4
monthly = 6

[restore]
instance = {{ arm64 = "t4g.medium", x86_64 = "t3a.medium" }}
readers  = ["{reader}"]
"""

COPY = """
[copy]
region    = "{region}"
retention = {{ daily = 2, weekly = 4 }}
"""

HOST_TABLE = """
[host.{name}]
id    = "{id}"
keys  = ["{key}"]
"""


@dataclass(frozen=True)
class Place:
    """How the receiver is found: its name, its port, who may reach it, its public host key."""

    name: str
    port: int
    allow: str
    key: str


class Host:
    """One enrolled host: its files under `home`, as the agent finds them in /etc and /var/lib/ebbtide."""

    def __init__(self, home: Path, source: Source) -> None:
        self.source = source
        self.name = source.host
        self.id = HOST_IDS[source.host]
        self.etc = home / "etc"
        self.state = home / "var"

    @property
    def key(self) -> Path:
        return self.etc / "ebbtide/key"

    def make_key(self) -> str:
        """The host's public key; the pair is made at the first call."""
        self.state.mkdir(parents=True, exist_ok=True)
        return public_half(self.key)

    def configure(self, place: Place, login: str) -> None:
        """Write the four configuration files."""
        known_hosts = self.etc / "ebbtide/known_hosts"
        known_hosts.write_text(f"{place.name} {place.key}\n")
        self._write(
            "backup_config",
            {
                "HOST": self.name,
                "TARGET": f"receiver://{place.name}:{place.port}",
                "KEEP": "7",
                "USER": login,
                "KEY": str(self.key),
                "KNOWN_HOSTS": str(known_hosts),
                "ROOT": str(self.source.root),
                "WHOLE_SYSTEM": "yes" if self.source.whole_system else "no",
            },
        )
        (self.etc / "backup_include").write_text("".join(f"{path}\n" for path in self.source.include))
        (self.etc / "backup_exclude").write_text("".join(f"{_literally(path)}\n" for path in self.source.exclude))
        self._write_scripts()

    def _write(self, name: str, settings: Mapping[str, str]) -> None:
        (self.etc / name).write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def _write_scripts(self) -> None:
        scripts = self.etc / "backupscripts"
        shutil.rmtree(scripts, ignore_errors=True)
        scripts.mkdir()
        if self.source.ours:
            place = self.source.root / "var/backups"
            place.mkdir(exist_ok=True)
            script = scripts / "10-state-of-the-day"
            script.write_text(NIGHTLY_SCRIPT.format(host=self.name, place=place, root=self.source.root))
            script.chmod(0o755)


def public_half(key: Path) -> str:
    """Of an ssh key, as a policy has it; the pair is made at the first call."""
    key.parent.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        procs.check(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sandbox", "-f", str(key)))
    algorithm, blob, *_ = key.with_suffix(".pub").read_text().split()
    return f"{algorithm} {blob}"


def _literally(path: str) -> str:
    """A path as an rsync pattern: with a wildcard in it a backslash escapes, without one it is a backslash."""
    if not any(sign in path for sign in "*?["):
        return path
    return "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in path)


def policy(hosts: Sequence[Host], name: str, allow: str, size_gib: int, reader: str, now: datetime) -> str:
    """The policy's text: one receiver for all hosts, its window open from now on. `reader` is an operator's key."""
    return POLICY.format(
        receiver=RECEIVER,
        start=now,
        end=now + WINDOW,
        name=name,
        allow=f'"{allow}"',
        size_gib=size_gib,
        reader=reader,
        hosts=", ".join(f'"{host.name}"' for host in hosts),
        host_tables="".join(_host_table(host) for host in hosts),
    )


def _host_table(host: Host) -> str:
    table = HOST_TABLE.format(name=host.name, id=host.id, key=host.make_key())
    return table + (f'probe = "{host.source.probe}"\n' if host.source.probe else "")
