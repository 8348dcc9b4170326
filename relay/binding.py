"""Listening sockets."""

from __future__ import annotations

import errno
import socket

from relay.errors import RelayError
from relay.values import split_address

#: What to do about the usual reasons.
_ADVICE = {
    errno.EADDRINUSE: "; another program, or another Gatepost, has it: `ss -ltnp` tells which",
    errno.EACCES: "; ports below 1024 need CAP_NET_BIND_SERVICE, which deploy/systemd/gatepost.service gives",
    errno.EADDRNOTAVAIL: "; no interface of this machine has that address",
}


def bind(address: str, *, shared: bool = False) -> socket.socket:
    """Return a socket bound to HOST:PORT, not listening yet; RelayError says which could not be had.

    `shared`: other sockets may bind the same address, and the kernel spreads connections over them.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        advice = _ADVICE.get(error.errno or 0, "")
        raise RelayError(f"cannot listen on {address}: {error.strerror}{advice}") from error
    bound.setblocking(False)  # noqa: FBT003 - its only argument
    return bound


def address_of(bound: socket.socket) -> str:
    """Return HOST:PORT of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
