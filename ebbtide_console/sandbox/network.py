"""The full substrate's private network: a bridge in a namespace of its own that machines and hosts are plugged into.

Nothing of it exists in the machine's own network, so its addresses cannot clash with anything.
"""

import itertools
import os
import socket
from collections.abc import Iterator

from ebbtide_console import procs
from ebbtide_console.sandbox import kernel, ports

GATEWAY = "10.77.0.1"
PREFIX = 16
# A bridge without an address of its own takes one of those that are plugged in, and another when that one goes: whoever
# remembers the first sends into nowhere for half a minute.
GATEWAYS_OWN = "02:00:0a:4d:00:01"
DNS_PORT = 53


class Network:
    """The VPC. It lives as long as this process holds its namespace."""

    def __init__(self) -> None:
        self._namespace = kernel.new_network()
        self._addresses = _addresses()
        self._cables = itertools.count(1)
        self._configure(
            self._namespace,
            "link set lo up",
            f"link add vpc address {GATEWAYS_OWN} type bridge",
            f"address add {GATEWAY}/{PREFIX} dev vpc",
            "link set vpc up",
        )

    @property
    def namespace(self) -> int:
        """A descriptor of its namespace; what is in there reaches every machine."""
        return self._namespace

    def assign_address(self) -> str:
        """An address that no machine of this sandbox has had before."""
        return next(self._addresses)

    def plug(self, pid: int, address: str) -> None:
        """Give the network namespace of a process an eth0 with this address, and a way to everything else in here."""
        cable = f"cable{next(self._cables)}"
        self._configure(
            self._namespace,
            f"link add {cable} type veth peer name eth0 netns {pid}",
            f"link set {cable} master vpc up",
        )
        inside = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._configure(
                inside,
                "link set lo up",
                f"address add {address}/{PREFIX} dev eth0",
                "link set eth0 up",
                f"route add default via {GATEWAY}",
            )
        finally:
            os.close(inside)

    def listen(self, port: int) -> socket.socket:
        """A TCP socket listening where every machine reaches it."""
        return kernel.within_network(self._namespace, lambda: ports.listening(GATEWAY, port))

    def listen_names(self) -> socket.socket:
        """A UDP socket where every machine sends its DNS questions."""

        def bound() -> socket.socket:
            names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            names.bind((GATEWAY, DNS_PORT))
            return names

        return kernel.within_network(self._namespace, bound)

    def close(self) -> None:
        os.close(self._namespace)

    def _configure(self, namespace: int, *commands: str) -> None:
        """Run ip(8) commands in a network namespace, in one go."""
        place = f"--net=/proc/{os.getpid()}/fd/{namespace}"
        procs.check(("nsenter", place, "ip", "-batch", "-"), feed="\n".join(commands) + "\n")


def _addresses() -> Iterator[str]:
    """10.77.1.1 and up, without the ends of each block of 256."""
    for block in range(1, 255):
        for number in range(1, 255):
            yield f"10.77.{block}.{number}"
