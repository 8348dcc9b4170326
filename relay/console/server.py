"""How the application is served: HTTP/1.1 that waits for no slow client, inside the daemon's own loop."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from fastapi import FastAPI

#: A whole request, head and body, must arrive within this: the longest form is 64 KiB.
REQUEST_SECONDS = 15.0
#: Connections at once; more are answered 503.
CONNECTIONS = 500
#: Request line and headers together; more is answered 400.
HEAD_BYTES = 32 * 1024


class PunctualProtocol(H11Protocol):
    """uvicorn's protocol with a deadline: by itself it waits for ever for the rest of a request."""

    request_seconds = REQUEST_SECONDS

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the deadline ends with the request that they complete, not with each of them."""
        self._expect()
        super().data_received(data)
        waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or self.conn.trailing_data[0]
        if self._deadline is not None and not waiting:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self._late)

    def _late(self) -> None:
        self.transport.abort()


def settings(app: FastAPI) -> uvicorn.Config:
    """Return how uvicorn serves the application: no lifespan, no log of its own, no trust in any header.

    X-Forwarded-* are read by the guard alone, from `console.proxies`: uvicorn would believe loopback.
    """
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        loop="none",
        http=PunctualProtocol,
        ws="none",
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=5,
    )


class Http(uvicorn.Server):
    """uvicorn inside our loop; the daemon alone handles signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it accepts."""
        await super().startup(sockets)
        self.accepting.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield
