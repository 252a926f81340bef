"""The degraded substrate: directories for disks, process groups for machines, loopback for a network."""

import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from chalicelib.errors import PermanentError
from ebbtide_console import procs
from ebbtide_console.sandbox import furnishing, ports
from ebbtide_console.sandbox.machine import Machine, python

LOOPBACK = "127.0.0.1"
MACHINE_DIRECTORIES = ("etc", "run", "tmp", "root", "opt", "srv", "var/lib", "usr/local/sbin", str(furnishing.BY_ID))
# Like -a, but a file system that cannot keep the extended attributes is an error: fake-super records live in them.
COPY = ("cp", "-dR", "--preserve=mode,ownership,timestamps,links,xattr", "--reflink=auto", "--sparse=auto", "--")


class Directories:
    """A substrate for whoever may not mount: the same nights, with weaker walls between its machines."""

    kind = "degraded"

    def __init__(self, state: Path, why: str) -> None:
        self.sentence = f"degraded: {why}: directories for volumes, loopback for the network"
        self.machine_endpoint = ""
        self._disks = state.resolve() / "disks"
        self._machines = state.resolve() / "machines"
        self._running: dict[str, Machine] = {}
        self._ssh_ports: dict[str, int] = {}
        self._closing = False
        self._lock = threading.Lock()
        procs.remove_tree(self._machines)
        self._machines.mkdir(parents=True)
        self._disks.mkdir(exist_ok=True)
        for half_made in self._disks.glob(".*"):
            procs.remove_tree(half_made)

    @property
    def network(self) -> None:
        return None

    def listen(self, port: int = 0) -> list[socket.socket]:
        listening = ports.listening(LOOPBACK, port)
        self.machine_endpoint = ports.endpoint(listening)
        return [listening]

    def listen_names(self) -> None:
        return None

    def create_disk(self, volume_id: str, size_gib: int, snapshot_id: str | None) -> None:
        if snapshot_id is None:
            (self._disks / volume_id).mkdir()
        else:
            self._copy(snapshot_id, volume_id)

    def grow_disk(self, volume_id: str, size_gib: int) -> None:
        """A directory is as large as what is in it."""

    def snapshot_disk(self, volume_id: str, snapshot_id: str) -> None:
        self._copy(volume_id, snapshot_id)

    def delete_disk(self, disk_id: str) -> None:
        procs.remove_tree(self._disks / disk_id)

    def has_disk(self, disk_id: str) -> bool:
        return (self._disks / disk_id).is_dir()

    def assign_address(self) -> str:
        return LOOPBACK

    def start_machine(
        self, machine_id: str, address: str, region: str, user_data: str, on_exit: Callable[[str], None]
    ) -> None:
        root = self._root(machine_id)
        for name in MACHINE_DIRECTORIES:
            (root / name).mkdir(parents=True, exist_ok=True)
        furnishing.write_aws_config(root / "root", self.machine_endpoint, region)
        script = root / "run/user-data"
        script.write_text(user_data)
        port = ports.free(LOOPBACK)
        machine = Machine(
            python("ebbtide_console.sandbox.init", "sh", str(script)),
            self.machine_log(machine_id),
            _environment(root, port),
        )
        furnishing.write_power_button(root / "usr/local/sbin", str(machine.pid))
        with self._lock:
            self._running[machine_id] = machine
            self._ssh_ports[machine_id] = port
        machine.run(lambda: self._gone(machine_id, on_exit))

    def attach(self, machine_id: str, volume_id: str) -> None:
        if machine_id not in self._running:
            raise PermanentError(f"machine {machine_id} is not running")
        self._device(machine_id, volume_id).symlink_to(self._disks / volume_id)

    def detach(self, machine_id: str, volume_id: str) -> None:
        self._device(machine_id, volume_id).unlink(missing_ok=True)

    def stop_machine(self, machine_id: str) -> None:
        with self._lock:
            machine = self._running.get(machine_id)
        if machine is not None:
            machine.pull_the_plug()

    def ssh_port(self, machine_id: str) -> int:
        return self._ssh_ports[machine_id]

    def machine_log(self, machine_id: str) -> Path:
        return self._machines / f"{machine_id}.log"

    def host_command(self, host: str, argv: Sequence[str]) -> list[str]:
        """As this user on this machine; it ends with whoever started it."""
        return ["setpriv", "--pdeathsig", "KILL", "--", *argv]

    def close(self) -> None:
        with self._lock:
            self._closing = True
            machines = list(self._running.values())
        for machine in machines:
            machine.pull_the_plug()
        for machine in machines:
            machine.join()

    def _root(self, machine_id: str) -> Path:
        return self._machines / machine_id

    def _device(self, machine_id: str, volume_id: str) -> Path:
        return self._root(machine_id) / furnishing.BY_ID / furnishing.by_id_name(volume_id)

    def _copy(self, source: str, target: str) -> None:
        making = self._disks / f".{target}"
        try:
            procs.check((*COPY, str(self._disks / source), str(making)))
            making.rename(self._disks / target)
        except (PermanentError, OSError) as error:
            procs.remove_tree(making)
            raise PermanentError(f"disk {source} could not be copied to {target}: {error}") from error

    def _gone(self, machine_id: str, on_exit: Callable[[str], None]) -> None:
        with self._lock:
            del self._running[machine_id]
            told = not self._closing
        procs.remove_tree(self._root(machine_id))
        if told:
            on_exit(machine_id)


def _environment(root: Path, port: int) -> dict[str, str]:
    """What a machine's user data finds. rsync may live in a place of the user's own, so their PATH comes along."""
    return {
        "EBBTIDE_ROOT": str(root),
        "EBBTIDE_SSH_PORT": str(port),
        "HOME": str(root / "root"),
        "LANG": "C.UTF-8",
        "PATH": furnishing.path_of(root / "usr/local/sbin", *map(Path, os.get_exec_path())),
        "TMPDIR": str(root / "tmp"),
    }
