"""The full substrate: image files for disks, namespaces for machines and hosts, a private network between them."""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from chalicelib.errors import PermanentError
from ebbtide_console import procs
from ebbtide_console.sandbox import furnishing, geography, interior, kernel, network, ports
from ebbtide_console.sandbox.disks import Disks
from ebbtide_console.sandbox.interior import Interior
from ebbtide_console.sandbox.machine import NamespaceMachine, python

OWN_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
UNSHARE = ("unshare", *OWN_NAMESPACES, "--fork", "--kill-child=SIGKILL", "--propagation", "private", "--")
# The caller is outside, so its number in there is 0: with another parent it has ended, and no signal will come.
WITH_ITS_CALLER = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", '[ "$PPID" = 0 ] && exec "$@"', "sh")
SSH_PORT = 22
CGROUP = "ebbtide-"
EMPTYING_SECONDS = 2.0


class Namespaces:
    """A substrate for root in an enclosure: as close to EC2 as one machine gets."""

    kind = "full"
    sentence = "full: image files for volumes, namespaces for machines, a private network between them"

    def __init__(self, state: Path) -> None:
        self.machine_endpoint = ""
        self._state = state.resolve()
        self._machines = self._state / "machines"
        self._place = self._state / "mounts"
        self._running: dict[str, NamespaceMachine] = {}
        self._hosts: dict[str, NamespaceMachine] = {}
        self._lock = threading.Lock()
        self._starting_hosts = threading.Lock()
        self._closing = False
        procs.remove_tree(self._machines)
        for directory in (self._machines, self._place / "interior", self._cgroups):
            directory.mkdir(parents=True, exist_ok=True)
        kernel.mount("cgroup2", self._cgroups, "cgroup2")
        _clear_left_over_cgroups(self._cgroups)
        self._disks = Disks(self._state / "store.img", self._place / "store")
        self._network = network.Network()

    @property
    def network(self) -> int:
        return self._network.namespace

    def listen(self, port: int = 0) -> list[socket.socket]:
        operators = ports.listening("127.0.0.1", port)
        machines = self._network.listen(port)
        self.machine_endpoint = ports.endpoint(machines)
        return [operators, machines]

    def listen_names(self) -> socket.socket:
        return self._network.listen_names()

    def create_disk(self, volume_id: str, size_gib: int, snapshot_id: str | None) -> None:
        self._disks.create(volume_id, size_gib, snapshot_id)

    def grow_disk(self, volume_id: str, size_gib: int) -> None:
        self._disks.grow(volume_id, size_gib)

    def snapshot_disk(self, volume_id: str, snapshot_id: str) -> None:
        self._disks.copy(volume_id, snapshot_id)

    def delete_disk(self, disk_id: str) -> None:
        self._disks.delete(disk_id)

    def has_disk(self, disk_id: str) -> bool:
        return self._disks.has(disk_id)

    def assign_address(self) -> str:
        return self._network.assign_address()

    def start_machine(
        self, machine_id: str, address: str, region: str, user_data: str, on_exit: Callable[[str], None]
    ) -> None:
        script = self._machines / f"{machine_id}.user-data"
        script.write_text(user_data)
        machine = self._build(
            "machine", f"ip-{address.replace('.', '-')}", region, script, self.machine_log(machine_id)
        )
        self._network.plug(machine.pid, address)
        _move(machine.pid, self._cgroup(machine_id))
        with self._lock:
            self._running[machine_id] = machine
        machine.run(lambda: self._gone(machine_id, on_exit))

    def attach(self, machine_id: str, volume_id: str) -> None:
        dev = self._dev(machine_id)
        number = self._disks.device(volume_id)
        interior.make_node(dev / f"loop{number}", stat.S_IFBLK | 0o660, kernel.LOOP_MAJOR, number)
        link = dev.parent / furnishing.BY_ID / furnishing.by_id_name(volume_id)
        link.symlink_to(f"../../loop{number}")

    def detach(self, machine_id: str, volume_id: str) -> None:
        with suppress(PermanentError, FileNotFoundError):  # the machine may be gone
            (self._dev(machine_id).parent / furnishing.BY_ID / furnishing.by_id_name(volume_id)).unlink()
        self._disks.let_go(volume_id)

    def stop_machine(self, machine_id: str) -> None:
        with self._lock:
            machine = self._running.get(machine_id)
        if machine is not None:
            machine.pull_the_plug()

    def ssh_port(self, machine_id: str) -> int:
        return SSH_PORT

    def machine_log(self, machine_id: str) -> Path:
        return self._machines / f"{machine_id}.log"

    def host_command(self, host: str, argv: Sequence[str]) -> list[str]:
        """Killing what runs this kills `argv`, too; what that started lives on in the host, as on a real one."""
        with self._starting_hosts:
            if host not in self._hosts:
                self._hosts[host] = self._start_host(host)
            pid = self._hosts[host].pid
        environment = (f"HOME={self._host(host) / 'root'}", "LANG=C.UTF-8", f"PATH={':'.join(os.get_exec_path())}")
        enter = ("nsenter", "--target", str(pid), *OWN_NAMESPACES, "--", *WITH_ITS_CALLER)
        return [*enter, "env", "-i", *environment, *argv]

    def close(self) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
            machines = [*self._running.values(), *self._hosts.values()]
        for machine in machines:
            machine.pull_the_plug()
        for machine in machines:
            machine.join()
        self._disks.close()
        self._network.close()
        kernel.detach_mount(self._cgroups)

    @property
    def _cgroups(self) -> Path:
        return self._place / "cgroups"

    def _cgroup(self, machine_id: str) -> Path:
        """Control groups are the whole machine's: each sandbox names its own after where its state lies."""
        sandbox = sha256(os.fsencode(self._state)).hexdigest()[:12]
        return self._cgroups / f"{CGROUP}{sandbox}-{machine_id}"

    def _host(self, host: str) -> Path:
        return self._state / "hosts" / host

    def _dev(self, machine_id: str) -> Path:
        with self._lock:
            machine = self._running.get(machine_id)
        if machine is None:
            raise PermanentError(f"machine {machine_id} is not running")
        return Path(f"/proc/{machine.pid}/root/dev")

    def _start_host(self, host: str) -> NamespaceMachine:
        own = self._host(host)
        for name in ("etc", "var", "root"):
            (own / name).mkdir(parents=True, exist_ok=True)
        machine = self._build("host", host, geography.FIRST, own, self._machines / f"host-{host}.log")
        self._network.plug(machine.pid, self.assign_address())
        machine.run(lambda: None)
        return machine

    def _build(self, kind: str, name: str, region: str, own: Path, log: Path) -> NamespaceMachine:
        """Make namespaces and what is seen in them; nothing runs in there yet."""

        def argv(ready: int) -> list[str]:
            words = Interior(
                kind=kind,
                name=name,
                name_server=network.GATEWAY,
                scratch=str(self._place / "interior"),
                own=str(own),
                endpoint=self.machine_endpoint,
                region=region,
                ready=str(ready),
            ).words()
            return [*UNSHARE, *python("ebbtide_console.sandbox.interior", *words)]

        path = furnishing.path_of(interior.POWER_BUTTON)
        return NamespaceMachine(argv, log, {"HOME": "/root", "LANG": "C.UTF-8", "PATH": path})

    def _gone(self, machine_id: str, on_exit: Callable[[str], None]) -> None:
        with self._lock:
            del self._running[machine_id]
            told = not self._closing
        _remove_cgroup(self._cgroup(machine_id))
        if told:
            on_exit(machine_id)


def clear(state: Path) -> None:
    """Remove what a sandbox that was killed left outside its state: control groups. In an enclosure, like a sandbox."""
    hierarchy = state / "cgroups"
    hierarchy.mkdir(parents=True, exist_ok=True)
    kernel.mount("cgroup2", hierarchy, "cgroup2")
    _clear_left_over_cgroups(hierarchy)
    kernel.detach_mount(hierarchy)


def _clear_left_over_cgroups(hierarchy: Path) -> None:
    for left_over in hierarchy.glob(f"{CGROUP}*"):
        _remove_cgroup(left_over)


def _move(pid: int, cgroup: Path) -> None:
    """Into a control group of its own; made again when another sandbox took it for a left-over before it was used."""
    while True:
        cgroup.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            (cgroup / "cgroup.procs").write_text(str(pid))
            return


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a control group with its children; one that processes are still in (another sandbox's) stays."""
    limit = time.monotonic() + EMPTYING_SECONDS
    while cgroup.exists() and time.monotonic() < limit:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            with suppress(OSError):
                Path(directory).rmdir()
        if _is_populated(cgroup):
            return


def _is_populated(cgroup: Path) -> bool:
    with suppress(OSError):
        return "populated 1" in (cgroup / "cgroup.events").read_text()
    return False
