"""Ordinary messages, and what has become of them."""

from __future__ import annotations

import itertools
import time

from tests.service.harness import Relay, until
from tests.service.wire import Client, NextHop

LOGIN, A, B, BOB = "alice@acme.example", b"alice@acme.example", b"bruno@other.example", b"bob@partner.example"
CAROL = b"carol@partner.example"
HEAD = b"From: Alice <alice@acme.example>\r\nTo: Bob <bob@partner.example>\r\nSubject: Thursday\r\n"
DATE = b"Date: Mon, 16 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n"
NUMBERS = itertools.count()
BODY = b"Hello Bob,\r\n\r\nsee you on Thursday at the usual place.\r\n\r\nAlice\r\n"


def text(case: str, *, head: bytes = HEAD, body: bytes = BODY) -> bytes:
    """Return an ordinary message with a Message-ID of its own."""
    number = next(NUMBERS)
    return head + DATE + b"Message-ID: <%s-%d@acme.example>\r\n\r\n" % (case.encode(), number) + body


def quiet(house: Relay, hop: NextHop, copies: int) -> None:
    """Nothing is on its way any more, and the next message overtakes nothing."""
    with Client(house, LOGIN) as after:
        mark = b"mark-%d" % time.monotonic_ns()
        assert after.submit(A, BOB, text(mark.decode())).startswith(b"250")
    until(lambda: any(mark in one.raw for one in list(hop.messages)))
    assert len([one for one in hop.messages if b"<mark-" not in one.raw]) == copies


def waiting(house: Relay) -> list[str]:
    return [row["id"] for row in house.rows("outbox", "list")]


def later(house: Relay, hop: NextHop, number: int = 1) -> None:
    """What waits arrives, once."""
    house.run("outbox", "retry", "--all")
    until(lambda: len(hop.messages) >= number and not waiting(house))
    quiet(house, hop, number)
