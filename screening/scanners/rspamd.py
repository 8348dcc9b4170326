"""rspamd as a second opinion, by POST /checkv2; the connection is handed in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from screening.plain import shown
from screening.scanners.clamd import Connect
from screening.scanners.guard import Unavailable
from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.mail import Mail

MAX_REPLY_BYTES = 1024 * 1024
#: rspamd's points count this much here, and no more than `MOST` together: it is a second opinion
WEIGHT = 0.4
MOST = 6.0


class Rspamd:
    """A scanner that asks rspamd for its score."""

    def __init__(
        self, connect: Connect, *, name: str = "rspamd", weight: float = WEIGHT, most: float = MOST
    ) -> None:
        self.name = name
        self._connect = connect
        self._weight = weight
        self._most = most

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return one hit with rspamd's strongest symbols, () where it has nothing against the mail."""
        reader, writer = await self._connect()
        try:
            writer.write(_request(mail))
            writer.write(mail.raw)
            await writer.drain()
            answer = _answer(await _read(reader))
        finally:
            writer.close()
        score = answer.get("score")
        if not isinstance(score, int | float):
            raise Unavailable("rspamd's answer has no score")
        points = round(min(self._most, score * self._weight), 2)
        return (Hit(self.name, points, _symbols(answer)),) if points > 0 else ()


def _request(mail: Mail) -> bytes:
    lines = [
        "POST /checkv2 HTTP/1.1",
        "Host: rspamd",
        "Connection: close",
        f"Content-Length: {len(mail.raw)}",
        f"Queue-Id: {mail.envelope.id}",
        f"From: {mail.envelope.sender}",
        f"Ip: {mail.envelope.peer_ip}",
        f"Helo: {mail.envelope.helo}",
        *(f"Rcpt: {recipient}" for recipient in mail.envelope.recipients[:100]),
    ]
    safe = (line for line in lines if line.isprintable())  # nobody's address ends a header line
    return "".join(f"{line}\r\n" for line in safe).encode() + b"\r\n"


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while len(data) <= MAX_REPLY_BYTES:
        piece = await reader.read(65536)
        if not piece:
            return bytes(data)
        data += piece
    raise Unavailable("rspamd's answer is too long")


def _answer(data: bytes) -> dict[str, Any]:
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0] + b" ":
        raise Unavailable(f"rspamd answered {shown(head[:80].decode('latin-1'))!r}")
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise Unavailable("rspamd's answer is no JSON") from error
    if not isinstance(answer, dict):
        raise Unavailable("rspamd's answer is no object")
    return answer


def _symbols(answer: dict[str, Any]) -> str:
    symbols = answer.get("symbols")
    if not isinstance(symbols, dict):
        return ""
    scored = [
        (name, float(symbol["score"]))
        for name, symbol in symbols.items()
        if isinstance(symbol, dict) and isinstance(symbol.get("score"), int | float)
    ]
    scored.sort(key=lambda pair: -pair[1])
    return shown(", ".join(name for name, score in scored[:6] if score > 0))
