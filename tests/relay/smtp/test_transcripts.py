"""The dialogs of tests/transcripts, once without a socket and cut byte by byte, once on a live port.

door: open | submission | secured     no login · login needed, in clear text · inside TLS, greeted
C: line      sent with CRLF             C> raw with escapes
C* a|x|n|b   a, x n times, b, CRLF      S: how a reply begins; `S: (closed)`: the server hung up
M: sender > recipients                  M| the lines of the message that the door took
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from relay.smtp import reply as replies
from relay.smtp.connections import Connections
from relay.smtp.listener import Listener
from tests.relay.smtp.harness import SmallDoor
from tests.relay.smtp.unplugged import Memory, Unplugged

if TYPE_CHECKING:
    from relay.smtp.grammar import RcptTo
    from relay.smtp.reply import Reply
    from tests.relay.smtp.harness import Client, Service, Services

FOLDER = Path(__file__).parents[2] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.smtp"))
CLOSED = "(closed)"


@dataclass
class Transcript:
    """One dialog: what is sent and expected, in order, and the messages that come of it."""

    door: str = ""
    steps: list[tuple[str, bytes | str]] = field(default_factory=list)
    messages: list[tuple[str, bytes]] = field(default_factory=list)


def parse(path: Path) -> Transcript:
    found = Transcript()
    for line in path.read_text("utf-8").splitlines():
        mark, rest = line[:2], line[3:]
        if mark == "C:":
            found.steps.append(("send", rest.encode() + b"\r\n"))
        elif mark == "C>":
            found.steps.append(("send", rest.encode("latin-1").decode("unicode_escape").encode("latin-1")))
        elif mark == "C*":
            before, what, times, *after = rest.split("|")
            found.steps.append(("send", (before + what * int(times) + "".join(after)).encode() + b"\r\n"))
        elif mark == "S:":
            found.steps.append(("expect", rest))
        elif mark == "M:":
            found.messages.append((rest, b""))
        elif mark == "M|":
            found.messages[-1] = (found.messages[-1][0], found.messages[-1][1] + rest.encode() + b"\r\n")
        elif line.startswith("door: "):
            found.door = line[6:]
        else:
            assert not line or line.startswith("#"), line
    assert found.door in ("open", "submission", "secured")
    return found


def refuse_refused(command: RcptTo) -> Reply | None:
    return replies.make(550, "1.1", "No such mailbox") if command.recipient.startswith("refused@") else None


def check_messages(door: SmallDoor, transcript: Transcript) -> None:
    taken = [(f"{m.sender} > {', '.join(m.recipients)}".strip(), m.text) for m in door.messages]
    assert taken == transcript.messages


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("cut", ["whole", "byte by byte"])
async def test_without_a_socket(services: Services, certificate: Any, path: Path, cut: str) -> None:
    transcript = parse(path)
    door = SmallDoor(needs_login=transcript.door != "open", on_rcpt=refuse_refused)
    config = services.config()
    name = "submissions" if transcript.door == "secured" else "submission"
    listener = Listener(
        door,
        name,
        config,
        certificate,
        shared=Connections(config.limits),
        implicit=transcript.door == "secured",
    )
    listener.loop = asyncio.get_running_loop()
    wire, transport = Unplugged(listener), Memory()
    wire.connection_made(transport)
    expected: list[str] = []
    heard: list[str] = []
    steps = list(transcript.steps)
    if transcript.door == "secured":
        steps = [("expect", "220"), ("send", b"EHLO client.example\r\n"), ("expect", "250-"), *steps]
    for kind, value in steps:
        if isinstance(value, bytes):
            parts = [value] if cut == "whole" else [value[i : i + 1] for i in range(len(value))]
            for part in parts:
                wire.data_received(part)
        elif value == CLOSED:
            assert kind == "expect"
            async with asyncio.timeout(5):
                while not transport.closed:  # noqa: ASYNC110 - a fake that tells nobody
                    await asyncio.sleep(0)
        else:
            expected.append(value)
            async with asyncio.timeout(5):
                while len(heard) < len(expected):
                    await asyncio.sleep(0)
                    heard += transport.replies()
            assert heard[len(expected) - 1].startswith(value), (value, heard[-1])
    assert len(heard) == len(expected)
    wire.connection_lost(None)
    assert wire.task is not None
    await wire.task
    check_messages(door, transcript)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_on_a_live_port(services: Services, path: Path) -> None:
    transcript = parse(path)
    door = SmallDoor(needs_login=transcript.door != "open", on_rcpt=refuse_refused)
    service = await services.start(door=door)
    async with await service.connect() as client:
        if transcript.door == "secured":
            await _secure(client, service)
        for kind, value in transcript.steps:
            if isinstance(value, bytes):
                await client.send(value)
            elif value == CLOSED:
                assert kind == "expect"
                assert await client.ended()
            else:
                reply = await client.reply()
                assert reply.startswith(value), (value, reply)
    check_messages(door, transcript)


async def _secure(client: Client, service: Service) -> None:
    await client.reply()
    await client.expect("EHLO client.example", "250")
    await client.expect("STARTTLS", "220")
    await client.handshake(service.context)
    await client.expect("EHLO client.example", "250")
