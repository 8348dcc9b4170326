"""A customer's mail server for the demo: a real SMTP server that stores every message it gets in a folder.

Usage: customer_server.py FOLDER. The first line on stdout is its port.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP


class Folder:
    """Keeps each message as NUMBER.eml, its envelope in the first two lines as X- headers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's names
        """Store one message, then answer."""
        self._count += 1
        head = f"X-Stored-From: {envelope.mail_from}\r\nX-Stored-To: {','.join(envelope.rcpt_tos)}\r\n"
        part = self._folder / f"{self._count:06}.part"
        part.write_bytes(head.encode() + envelope.original_content)
        part.rename(part.with_suffix(".eml"))
        return f"250 2.0.0 stored as {self._count:06}"


async def main(folder: Path) -> None:
    """Serve on a free port of loopback until killed."""
    loop = asyncio.get_running_loop()
    keeper = Folder(folder)
    server = await loop.create_server(
        lambda: SMTP(keeper, hostname="mail.customer.example", loop=loop, data_size_limit=64 << 20),
        "127.0.0.1",
        0,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
