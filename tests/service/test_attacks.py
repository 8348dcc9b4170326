"""A hostile client that knows no test of ours: what it sends is made by chance, what must hold never changes.

After every attack the daemon has no bug to tell of, another client is greeted within two seconds, and the
customer's server has seen nothing but whole messages of the account's.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import PATIENCE_SECONDS, Relay, until
from tests.service.wire import Client, NextHop
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.service

LOGIN, A, BOB = "alice@acme.example", b"alice@acme.example", b"bob@partner.example"
TEXT = b"From: <alice@acme.example>\r\nSubject: x\r\n\r\nhello\r\n"
GREETING_SECONDS = 2.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[Relay]:
    with Relay(tmp_path_factory.mktemp("besieged")) as running:
        running.init()
        running.configure("limits", 'message_size = "1 MiB"\nerrors_soft = 50\nerrors_hard = 60')
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{hop.port}")
        running.account(LOGIN, "acme")
        yield running.start()


@pytest.fixture(autouse=True)
def _stands(house: Relay, hop: NextHop) -> Iterator[None]:
    hop.friendly()
    yield
    started = steady()
    assert greeted(house)
    assert steady() - started < GREETING_SECONDS
    assert house.events("bug") == []
    for command in hop.commands:
        assert re.fullmatch(rb"[ -~]+\r\n", command), command
    for one in hop.messages:
        assert one.rcpts == (BOB,)
        assert b"alice@acme.example" in one.mail
        assert one.raw.count(b"\r") == one.raw.count(b"\n") == one.raw.count(b"\r\n")


def greeted(house: Relay) -> bool:
    with door(house) as talk:
        return talk.recv(100).startswith(b"220 ")


def raw(house: Relay, *pieces: bytes, wait: float = 5.0) -> bytes:
    """Send pieces in clear text, and return everything that comes back until it ends or falls silent."""
    heard = b""
    with door(house) as talk, contextlib.suppress(OSError):
        talk.settimeout(wait)
        for piece in pieces:
            talk.sendall(piece)
        talk.shutdown(socket.SHUT_WR)
        while data := talk.recv(65536):
            heard += data
    return heard


VERBS = (
    b"EHLO x", b"HELO x", b"NOOP", b"RSET", b"VRFY a", b"HELP", b"EXPN a", b"QUIT now",
    b"XCLIENT ADDR=1.2.3.4", b"MAIL FROM:<alice@acme.example>", b"MAIL FROM:<> SIZE=5", b"RCPT TO:<nobody@>",
    b"MAIL FROM:<alice@acme.example> BODY=8BITMIME", b"RCPT TO:<bob@partner.example>",
    b"MAIL FROM:<alice@acme.example> SMTPUTF8 RET=HDRS",
    b"RCPT TO:<bob@partner.example> NOTIFY=NEVER ORCPT=rfc822;x", b"DATA", b"BDAT 5\r\nhello", b"BDAT 0 LAST",
    b"BDAT 9 LAST\r\nhello\r\n", b"BDAT 99999999999", b"BDAT -1", b"AUTH PLAIN", b"AUTH LOGIN", b"*",
    b"AUTH PLAIN AGEAYg==", b"STARTTLS x", b".", b"..", b"\x00", b"\xff\xfe", b"\r", b"\n", b"", b" ",
    b"A" * 3000, b"From: <alice@acme.example>", b"Subject: x",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_commands_cut_anywhere_is_answered_or_ended(
    house: Relay, hop: NextHop, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same attack every time
    ends = [b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n"] * (seed % 3 == 0)
    stream = b"".join(chance.choice(VERBS) + chance.choice(ends) for _ in range(60))
    with Client(house, LOGIN) as client, contextlib.suppress(OSError):
        while stream:
            cut = chance.choice((1, 2, 3, 7, 100, 5000))
            client.send(stream[:cut])
            stream = stream[cut:]
    assert all(one.body.count(b"Received:") == 0 for one in hop.messages)


ENDS = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\r.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\x0b.\x0b", b"\x85.\x85",
)  # fmt: skip


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("pad", [0, 70_000, 1 << 20], ids=["small", "long line", "too big"])
def test_nothing_but_a_dot_on_its_own_line_ends_a_message(
    house: Relay, hop: NextHop, end: bytes, pad: int
) -> None:
    inner = (
        b"MAIL FROM:<evil@acme.example>\r\nRCPT TO:<evil@partner.example>\r\nDATA\r\nSubject: in\r\n\r\nevil"
    )
    with Client(house, LOGIN) as client, contextlib.suppress(OSError):
        client.envelope(A, BOB)
        assert client.say(b"DATA").startswith(b"354")
        client.send(TEXT + b"x" * pad + b"lead" + end)
        client.send(inner + b"\r\n.\r\n")
        client.reply()
    assert len(hop.messages) <= 1
    assert not [command for command in hop.commands if b"evil" in command]


def test_clear_text_behind_starttls_is_never_carried_into_tls(house: Relay) -> None:
    heard = raw(house, b"EHLO x\r\nSTARTTLS\r\nEHLO evil\r\nMAIL FROM:<alice@acme.example>\r\n")
    assert heard.count(b"\r\n220 ") == 0
    assert b"Sender OK" not in heard


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY " + b"x" * 200 + b"\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02",
    ],
)
def test_a_stranger_cannot_name_another_client(house: Relay, header: bytes) -> None:
    heard = raw(house, header + b"EHLO x\r\nNOOP\r\n")
    assert b"\r\n250" not in heard


def test_floods_that_nobody_reads_delay_nobody(house: Relay) -> None:
    floods = (b"NOOP\r\n" * 300_000, b"EHLO x\r\n" * 100_000, b"x" * 2_000_000, b"BDAT 0\r\n" * 100_000)
    talks = [door(house) for _ in range(8)]
    try:
        for number, talk in enumerate(talks):
            talk.settimeout(0.5)
            with contextlib.suppress(OSError):
                talk.sendall(floods[number % len(floods)])
        started = steady()
        assert greeted(house)
        assert steady() - started < GREETING_SECONDS
    finally:
        for talk in talks:
            talk.close()


@pytest.mark.parametrize("flood", [b"BDAT 0\r\n", b"BDAT 1\r\nx", b"RCPT TO:<bob@partner.example>\r\n"])
def test_a_client_that_is_logged_in_cannot_hold_the_daemon_either(house: Relay, flood: bytes) -> None:
    with Client(house, LOGIN) as client:
        client.envelope(A, BOB)
        with contextlib.suppress(OSError):
            client._talk.settimeout(1.0)
            client.send(flood * 50_000)
        started = steady()
        assert greeted(house)
        assert steady() - started < GREETING_SECONDS


def test_hundreds_of_silent_and_dripping_clients_delay_nobody(house: Relay) -> None:
    talks = [door(house) for _ in range(400)]
    try:
        for talk in talks[:200]:
            talk.sendall(b"E")
        started = steady()
        assert greeted(house)
        assert steady() - started < GREETING_SECONDS
        for talk in talks[:200]:
            talk.sendall(b"H")
        with Client(house, LOGIN) as client:
            assert client.submit(A, BOB, TEXT).startswith(b"250")
    finally:
        for talk in talks:
            talk.close()


def test_re_27_more_clients_than_files_cost_nothing_and_leave_nothing_behind(house: Relay) -> None:
    assert house.process is not None
    pid = house.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2000, mine[1]), mine[1]))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, before[1]))
    talks: list[socket.socket] = []
    try:
        talks.extend(door(house) for _ in range(1000))
        spent, started = cpu_seconds(pid), time.monotonic()
        until(lambda: time.monotonic() - started > 2)
        assert cpu_seconds(pid) - spent < 0.5 * (time.monotonic() - started)
    finally:
        for talk in talks:
            talk.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, mine)
    until(lambda: greeted(house))


def door(house: Relay) -> socket.socket:
    return socket.create_connection(house.address("submission"), PATIENCE_SECONDS)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_au_03_nobody_learns_from_the_time_who_exists(house: Relay) -> None:
    def seconds(login: str) -> float:
        house.passwords[login], kept = f"wrong {time.monotonic_ns()} {login}", house.passwords.get(login)
        started = time.monotonic()
        with pytest.raises(AssertionError):
            Client(house, login)
        took = time.monotonic() - started
        if kept is not None:
            house.passwords[login] = kept
        return took

    pairs = [(seconds(LOGIN), seconds("nobody@acme.example")) for _ in range(5)]
    # the least: what else the machine does only adds
    known, unknown = (min(each) for each in zip(*pairs, strict=True))
    assert abs(known - unknown) < max(0.4 * max(known, unknown), 0.015)
