"""A session without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from relay.smtp.server import SmtpServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Memory(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 40000) if name == "peername" else default

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def pause_reading(self) -> None:
        """Have nothing to pause."""

    def resume_reading(self) -> None:
        """Have nothing to resume."""

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def replies(self) -> Iterator[str]:
        """Yield and forget the whole replies so far; the first line of an EHLO answer stands for it."""
        while (end := self.written.find(b"\r\n")) >= 0:
            line = self.written[:end].decode("ascii")
            if line[3] == " ":
                del self.written[: end + 2]
            else:
                last = self.written.find(b"\r\n250 ")
                del self.written[: self.written.find(b"\r\n", last + 2) + 2]
            yield line


class Unplugged(SmtpServer):
    """TLS, where a test wants it, is said to be there."""

    async def start_tls(self, hello: bytes = b"") -> None:
        assert not hello
        self.tls_version = "TLSv1.3"
