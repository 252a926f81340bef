"""Booting a Debian under its own systemd, for a test that is alone with its mounts."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chalicelib.core.tags import Role
from chalicelib.core.userdata import render
from ebbtide_console.sandbox import furnishing, kernel
from tests.groups import a_group_in
from tests.local.receiver_machine import BUCKET, NONCE, REGION, RUN, VOLUME, Aws, HostKey, a_brief, a_key
from tools.build_agent import build

AGENT_KEY = "agent/ebbtide-agent.pyz"
POWER_OFF_MINUTES = 300
CLOUD_CONFIG = "datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\n"
# The outermost machine may tell the kernel about control groups, as one of EC2's may.
AS_A_MACHINE = ("--capability=all", "--system-call-filter=bpf")

# The machine is let in to this test's control group hierarchy, as a group that it may divide as it likes.
_BOOT = """
set -eu
echo 0 >"$1/cgroup.procs"
shift
exec systemd-nspawn --quiet --register=no --keep-unit --boot --resolv-conf=off --timezone=off --link-journal=no \
    --console=read-only "$@"
"""


def a_receivers_parts(aws: Aws, place: Path, *hosts: str) -> tuple[Path, Mapping[str, HostKey], str]:
    """What a receiver for these hosts is launched with: the agent, which lies where it fetches it as all else does, the
    hosts' keys, and the user data. Who it is, `known_hosts` says."""
    agent = place / "ebbtide-agent.pyz"
    build(agent)
    aws.put(AGENT_KEY, agent.read_bytes())
    host_key = a_key(place / "host-key")
    (place / "known_hosts").write_text(f"localhost {host_key.with_suffix('.pub').read_text()}")
    aws.client("ssm").put_parameter(Name="/host-key", Type="SecureString", Value=host_key.read_text())
    keys = {name: HostKey(name, f"{name}a", a_key(place / f"key-{name}")) for name in hosts}
    aws.put("brief", json.dumps(a_brief(list(keys.values()), 60)).encode())
    user_data = render(
        Role.RECEIVER, RUN, 1, BUCKET, REGION, "brief", AGENT_KEY, POWER_OFF_MINUTES, 30, serves=True, nonce=NONCE
    )
    return agent, keys, user_data


def an_instance_root(image: Path, place: Path, aws: Aws, user_data: str) -> Path:
    """The image, written over in memory only, with what EC2 would give its instance: user data and a way to AWS."""
    root, upper, work = (place / name for name in ("root", "upper", "work"))
    for directory in (root, upper, work):
        directory.mkdir()
    kernel.mount("overlay", root, "overlay", options=f"lowerdir={image},upperdir={upper},workdir={work}")
    seed = root / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "meta-data").write_text("instance-id: i-0a\n")
    (seed / "user-data").write_text(user_data)
    (root / "etc/cloud/cloud.cfg.d/99-here.cfg").write_text(CLOUD_CONFIG)
    furnishing.write_aws_config(root / "root", aws.endpoint, REGION)
    return root


def as_its_volume(device: Path) -> str:
    """What has a machine see a device where EC2 would show it its volume."""
    return f"--bind={device}:/{furnishing.BY_ID}/{furnishing.by_id_name(VOLUME)}"


def boot_argv(group: Path, name: str, root: Path, *words: str) -> list[str]:
    """What boots `root` as a machine of this name, in this control group."""
    return ["sh", "-c", _BOOT, "boot", str(group), f"--machine={name}", f"--directory={root}", *words]


def init_of(nspawn: int) -> str:
    """The machine's first process as it is known here; all of the machine goes with it."""
    return Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()[0]


def asked(nspawn: int, *argv: str, check: bool = True) -> str:
    """What a program prints that is run in the machine, beside its own processes."""
    enter = ["nsenter", "--target", init_of(nspawn), "--mount", "--pid", "--uts", "--ipc", "--"]
    return subprocess.run([*enter, *argv], capture_output=True, text=True, check=check).stdout.strip()


@contextmanager
def a_control_group() -> Iterator[Path]:
    hierarchy = Path("/sys/fs/cgroup")
    kernel.mount("cgroup2", hierarchy, "cgroup2")
    with a_group_in(hierarchy) as group:
        yield group
