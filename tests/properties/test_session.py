"""Whatever a client says, in whatever cuts: lawful replies, no bug, nothing held when it is gone."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config import parse
from relay.smtp.connections import Connections
from relay.smtp.listener import Event, Listener
from tests.relay.smtp.harness import LOGIN, PASSWORD, SmallDoor
from tests.relay.smtp.unplugged import Memory, Unplugged

_CREDENTIALS = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
_LINES = st.sampled_from(
    [b"EHLO client.example\r\n", b"HELO x\r\n", b"MAIL FROM:<a@x.example>\r\n", b"MAIL FROM:<> SIZE=1\r\n",
     b"RCPT TO:<b@y.example>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\ntext\r\n.\r\n", b".\r\n",
     b"BDAT 5\r\nab\r\nc",
     b"BDAT 4 LAST\r\nx\r\n.", b"BDAT 0 LAST\r\n", b"BDAT 9999999\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n",
     b"VRFY x\r\n", b"STARTTLS\r\n", b"AUTH PLAIN " + _CREDENTIALS + b"\r\n",
     b"AUTH LOGIN\r\n", b"AUTH PLAIN\r\n",
     b"*\r\n", b"bad\n", b"\0\r\n", b"x" * 3000 + b"\r\n", b"\r\n", b"\xff\xfe\r\n", b" \r\n"]
)  # fmt: skip
_PARTS = st.lists(st.one_of(_LINES, _LINES, st.binary(max_size=20)), max_size=25)


async def talk(parts: list[bytes], *, needs_login: bool) -> None:
    config = parse("[limits]\nerrors_soft = 900\nerrors_hard = 1000\n", Path())
    door, shared, events = SmallDoor(needs_login=needs_login), Connections(config.limits), list[Event]()
    listener = Listener(
        door, "submission", config, None, shared=shared, events=lambda event, _: events.append(event)
    )
    listener.loop = asyncio.get_running_loop()
    wire, transport = Unplugged(listener), Memory()
    wire.tls_version = "TLSv1.3"
    wire.connection_made(transport)
    for part in parts:
        await asyncio.sleep(0)
        if transport.closed:
            break
        wire.data_received(part)
    for _ in range(20):
        await asyncio.sleep(0)
    wire.connection_lost(None)
    assert wire.task is not None
    async with asyncio.timeout(5):
        await wire.task
    assert Event.BUG not in events
    assert shared.open == 0
    assert not listener.wires
    lines = bytes(transport.written).split(b"\r\n")
    assert lines.pop() == b""
    assert all(re.fullmatch(rb"[2-5]\d\d[ -][ -~]{0,506}", line) for line in lines), lines
    opened, ended = door.calls.count("mail"), door.calls.count("abandon") + door.calls.count("data")
    assert opened == ended


@given(_PARTS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_nothing_that_a_client_says_is_a_bug(parts: list[bytes], needs_login: bool) -> None:  # noqa: FBT001
    asyncio.run(talk(parts, needs_login=needs_login))
