"""The tests' own client: a server that is killed at any moment must leave no socket open."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import struct

import pytest

from tests.service.harness import PATIENCE_SECONDS, TlsSocket


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.sslsocket_class = TlsSocket
    return context


def test_a_server_that_died_before_the_handshake_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        plain = socket.create_connection(listening.getsockname(), PATIENCE_SECONDS)
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()  # RST: what a killed process leaves
        with contextlib.closing(plain), pytest.raises(ConnectionResetError):
            trusting().wrap_socket(plain)
    gc.collect()
