"""The console behind a real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from relay.console.server import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI


class _Quiet(uvicorn.Server):
    """Leaves signals to pytest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    """Serve on loopback; gives the port."""
    server = _Quiet(settings(app))
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        asyncio.run(server._serve([listening]))

    thread = threading.Thread(target=run, name="console-under-test")
    thread.start()
    try:
        assert server.listening.wait(20)
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive()
