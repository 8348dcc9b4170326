"""ClamAV's daemon by its INSTREAM command; the connection is handed in (UNIX socket or TCP)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from screening.plain import shown
from screening.scanners.guard import Unavailable
from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.mail import Mail

CHUNK_BYTES = 64 * 1024
MAX_REPLY_BYTES = 4096
SCORE = 20.0

#: Opens a connection to clamd.
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Clamd:
    """A scanner that hands the whole message to clamd."""

    def __init__(self, connect: Connect, *, name: str = "clamd", score: float = SCORE) -> None:
        self.name = name
        self._connect = connect
        self._score = score

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return a hit with the signature's name, () for a clean message; raise Unavailable for any other
        answer.
        """
        reader, writer = await self._connect()
        try:
            writer.write(b"zINSTREAM\0")
            for start in range(0, len(mail.raw), CHUNK_BYTES):
                chunk = mail.raw[start : start + CHUNK_BYTES]
                writer.write(len(chunk).to_bytes(4, "big") + chunk)
                await writer.drain()
            writer.write(b"\0\0\0\0")
            await writer.drain()
            reply = await _reply(reader)
        finally:
            writer.close()
        return self._read(reply)

    def _read(self, reply: str) -> Sequence[Hit]:
        if reply == "stream: OK":
            return ()
        if reply.startswith("stream: ") and reply.endswith(" FOUND"):
            return (Hit(self.name, self._score, shown(reply[len("stream: ") : -len(" FOUND")])),)
        raise Unavailable(f"clamd answered {shown(reply)!r}")


async def _reply(reader: asyncio.StreamReader) -> str:
    data = b""
    while b"\0" not in data and len(data) < MAX_REPLY_BYTES:
        piece = await reader.read(MAX_REPLY_BYTES)
        if not piece:
            break
        data += piece
    return data.partition(b"\0")[0].decode("utf-8", "replace").strip()
