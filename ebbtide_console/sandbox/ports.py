"""TCP ports of the sandbox: listening on one, finding a free one."""

import socket

from chalicelib.errors import PermanentError

BACKLOG = 128


def listening(address: str, port: int) -> socket.socket:
    """A socket listening there; port 0 takes a free one. PermanentError when the port is taken."""
    try:
        return socket.create_server((address, port), backlog=BACKLOG)
    except OSError as error:
        raise PermanentError(
            f"port {port} of {address} cannot be listened on: {error.strerror}; end what uses it, or choose another"
        ) from error


def endpoint(listener: socket.socket) -> str:
    """The URL of an API that is served on this socket."""
    address, port = listener.getsockname()
    return f"http://{address}:{port}"


def free(address: str) -> int:
    """A port that nothing listens on."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])
