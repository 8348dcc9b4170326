"""Those above the daemon: what systemd is told (sd_notify), and a worker's end with its supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress

from relay.clock import monotonic

READY, STOPPING = "READY=1", "STOPPING=1"
_ALIVE = "WATCHDOG=1"


def tell(state: str) -> None:
    """Send a state to whoever started us, if they gave a socket (`NOTIFY_SOCKET`); never fails."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.setblocking(False)  # noqa: FBT003 - its only argument
        out.sendto(state.encode(), name)


def reloading() -> str:
    """Return the state of a reload under way; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={int(monotonic() * 1_000_000)}"


def watchdog_seconds() -> float:
    """Return after how long a silence systemd starts us anew; 0: it does not."""
    given = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(given) / 1_000_000 if given.isdecimal() and mine else 0.0


async def keep_telling() -> None:
    """Say that the loop turns, as often as systemd wants to hear; a loop that hangs is started anew."""
    if not (seconds := watchdog_seconds()):
        return
    while True:
        tell(_ALIVE)
        await asyncio.sleep(seconds / 3)


async def end_with_supervisor(stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends: it is the supervisor's, and none of us outlives it."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    stop.set()
