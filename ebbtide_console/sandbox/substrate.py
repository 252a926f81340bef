"""What the sandbox stands on: disks, machines and a network, made of whatever this machine allows."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ebbtide_console.sandbox import directories, enclosure, namespaces, probe


class Substrate(Protocol):
    """The half of a cloud that is not an API.

    Ids are EC2's: vol-…, snap-…, i-…. All methods may be called from any thread.
    """

    @property
    def kind(self) -> str:
        """`full` (images, namespaces) or `degraded` (directories, loopback)."""

    @property
    def sentence(self) -> str:
        """One line saying which kind this is, and why."""

    @property
    def machine_endpoint(self) -> str:
        """The AWS endpoint URL as machines and hosts reach it; known after listen()."""

    @property
    def network(self) -> int | None:
        """A descriptor of the network namespace that machines are reached from; None where that is this process's."""

    def listen(self, port: int = 0) -> list[socket.socket]:
        """Listening TCP sockets for the API: the operator's on 127.0.0.1 first, then the machines' where it differs.

        Port 0 takes a free one. PermanentError when the port is taken.
        """

    def listen_names(self) -> socket.socket | None:
        """A UDP socket on port 53 where machines and hosts send their questions; None if there is no such place."""

    def create_disk(self, volume_id: str, size_gib: int, snapshot_id: str | None) -> None:
        """Make a volume, blank or from a snapshot."""

    def grow_disk(self, volume_id: str, size_gib: int) -> None:
        """Make a volume larger that is attached to nothing; what it holds stays."""

    def snapshot_disk(self, volume_id: str, snapshot_id: str) -> None:
        """Copy a volume as it is now; the point in time is fixed on return."""

    def delete_disk(self, disk_id: str) -> None:
        """Remove a volume or snapshot; absent is success."""

    def has_disk(self, disk_id: str) -> bool:
        """Whether the volume or snapshot is there."""

    def assign_address(self) -> str:
        """A private IPv4 address for a new machine."""

    def start_machine(
        self, machine_id: str, address: str, region: str, user_data: str, on_exit: Callable[[str], None]
    ) -> None:
        """Start a machine that runs `user_data` as a shell script; on return disks can be attached to it.

        It lives on after its user data, until it powers itself off or is stopped; then `on_exit` is called once, with
        its id, from a thread of the substrate.
        """

    def attach(self, machine_id: str, volume_id: str) -> None:
        """Make the volume appear at /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol… in the machine."""

    def detach(self, machine_id: str, volume_id: str) -> None:
        """Take the volume off the machine; the machine may be gone."""

    def stop_machine(self, machine_id: str) -> None:
        """Pull the plug: everything of the machine is killed; on_exit follows. Absent is success."""

    def ssh_port(self, machine_id: str) -> int:
        """The port on which the machine's sshd listens at its address."""

    def machine_log(self, machine_id: str) -> Path:
        """Where everything goes that the machine's user data prints."""

    def host_command(self, host: str, argv: Sequence[str]) -> list[str]:
        """`argv` wrapped so that it runs as on that host, which is started on first use."""

    def close(self) -> None:
        """End every machine and host (no on_exit for these) and let go of everything; disks stay."""


def choose(state: Path) -> Substrate:
    """The full substrate inside an enclosure (whose maker has probed), else the degraded one, which says why.

    What persists lies under `state`. PermanentError when that cannot be used.
    """
    if enclosure.enclosed():
        return namespaces.Namespaces(state)
    why = probe.probe().why or "not started inside an enclosure"
    return directories.Directories(state, why)
