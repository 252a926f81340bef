"""A Debian 13 in a virtual machine: a kernel, a systemd and an udev of its own, and root's shell on a serial line."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.local.ports import a_free_port
from tests.local.receiver_machine import VOLUME, wait_until

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 2048
OURS = "10.0.2.2"
SIZE = "4G"
# Always an emulated one: where this machine is a virtual one itself, its /dev/kvm may be there and not do.
ACCELERATOR = "tcg"
# An emulated processor takes ten times as long for everything, and has to share those of this machine.
PATIENCE_SECONDS = 1200.0
# It ends as soon as its kernel does; the shell is systemd's own, which it starts for whoever mends a machine.
KERNEL = "root=/dev/vda rw console=ttyS0 panic=-1 net.ifnames=0 systemd.debug_shell=ttyS1"
# A line is then what was pasted, and what it says is nothing else.
PLAIN = "exec bash --noediting --norc\nstty -echo -onlcr\nPS1= PS2=\n"
UP = r"""
systemctl is-system-running --wait || systemctl --failed --no-pager
mkdir -p /run/systemd/network
printf '[Match]\nName=eth0\n[Network]\nDHCP=yes\n' >/run/systemd/network/eth0.network
systemctl start systemd-networkd systemd-networkd-wait-online
"""
# In front of its second disk the kernel shows one that says of itself what a volume says on EC2; udev says its name.
TO_A_VOLUME = f"""
modprobe nvme-loop
cd /sys/kernel/config/nvmet
mkdir subsystems/ebs subsystems/ebs/namespaces/1 ports/1
echo 1 >subsystems/ebs/attr_allow_any_host
echo "Amazon Elastic Block Store" >subsystems/ebs/attr_model
echo {VOLUME.replace("-", "")} >subsystems/ebs/attr_serial
echo /dev/vdb >subsystems/ebs/namespaces/1/device_path
echo 1 >subsystems/ebs/namespaces/1/enable
echo loop >ports/1/addr_trtype
ln -s $PWD/subsystems/ebs ports/1/subsystems/ebs
echo transport=loop,nqn=ebs >/dev/nvme-fabrics
udevadm settle
"""


@dataclass(frozen=True)
class Machine:
    """One that is up. On `web`, a port of this machine's loopback, its own port 80 is asked."""

    qemu: "subprocess.Popen[bytes]"
    place: Path
    web: int

    def said(self) -> str:
        """All that its shell has printed so far."""
        return (self.place / "shell").read_text(errors="replace")

    def paste(self, lines: str) -> None:
        assert self.qemu.stdin
        self.qemu.stdin.write(lines.encode())
        self.qemu.stdin.flush()

    def run(self, script: str) -> str:
        """What a script prints that ends well."""
        before, end = len(self.said()), os.urandom(8).hex()
        self.paste(f"(set -e\n{script}\n) 2>&1 </dev/null; echo {end} $?\n")
        ended = self.wait_for(f"{end} ([0-9]+)\n", before)
        printed = self.said()[before:].partition(end)[0]
        assert ended[1] == "0", printed
        return printed

    def wait_for(self, pattern: str, after: int = 0) -> "re.Match[str]":
        """Until its shell has printed this, after so many characters."""
        said = re.compile(pattern)
        wait_until(lambda: said.search(self.said(), after) or self.is_off(), pattern, PATIENCE_SECONDS)
        found = said.search(self.said(), after)
        assert found, (self.place / "console").read_text(errors="replace") + self.said()
        return found

    def is_off(self) -> bool:
        return self.qemu.poll() is not None


def a_disk(content: Path, image: Path) -> Path:
    """A file system that holds a directory, with room beside it."""
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, image, SIZE], check=True)
    return image


@contextmanager
def a_machine(tree: Path, place: Path, *disks: Sequence[str], restricted: bool = True) -> Iterator[Machine]:
    """Boot a tree that has a kernel, with these disks beside its own. What it writes is gone with it.

    It reaches nobody; but if it is not `restricted`, also this machine's loopback, which is OURS there.
    """
    disk, web = a_disk(tree, place / "disk"), a_free_port()
    net = f"user,id=net,restrict={'on' if restricted else 'off'},hostfwd=tcp:127.0.0.1:{web}-:80"
    [kernel], [initrd] = tree.glob("boot/vmlinuz-*"), tree.glob("boot/initrd.img-*")
    argv = [
        *("setpriv", "--pdeathsig", "KILL", "--", QEMU, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", f"q35,accel={ACCELERATOR}", "-cpu", "max", "-smp", "2", "-m", f"{MEMORY_MIB}", "-no-reboot"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", KERNEL),
        *as_a_disk(disk), *(word for disk in disks for word in disk),
        *("-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-serial", f"file:{place}/console", "-chardev", "stdio,id=shell,signal=off", "-serial", "chardev:shell"),
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(place)}  # where what is written to a snapshot lies
    with (place / "shell").open("wb") as said:
        qemu = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=said, stderr=said, env=environment)
    try:
        machine = Machine(qemu, place, web)
        machine.wait_for("# ")
        machine.paste(PLAIN)
        machine.run(UP)
        yield machine
    finally:
        qemu.kill()
        qemu.communicate()
        disk.unlink()  # a gigabyte


def as_a_disk(image: Path) -> tuple[str, ...]:
    """The next of its plain disks: /dev/vda, then /dev/vdb."""
    return ("-drive", f"file={image},format=raw,if=virtio,snapshot=on")
