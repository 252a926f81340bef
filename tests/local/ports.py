"""Ports for servers that say themselves where they listen."""

import random
import socket

# Below those that the kernel gives to whoever asks for any: what is free now is not somebody's by chance in a moment.
_PORTS = range(20_000, 32_000)
_CHANCE = random.SystemRandom()


def a_free_port() -> int:
    """One of this machine's that nobody has, and that nobody is given who does not ask for it."""
    while True:
        port = _CHANCE.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
