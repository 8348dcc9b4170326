"""FR: framing and syntax."""

from __future__ import annotations

import contextlib
import re

import pytest

from tests.service.catalogue.letters import BOB, BODY, HEAD, LOGIN, A, quiet, text
from tests.service.harness import Relay
from tests.service.wire import Client, NextHop

pytestmark = pytest.mark.service


def test_fr_17_and_18_dots_and_long_lines_arrive_byte_for_byte(client: Client, hop: NextHop) -> None:
    lines = [b".", b".x", b"..", b". ", b"", b"." * 900, b"y" * 998, b"." + b"z" * 997, b"end"]
    body = b"\r\n".join(lines) + b"\r\n"
    stuffed = b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines)
    assert client.submit(A, BOB, text("fr-17", body=stuffed)).startswith(b"250")
    assert hop.messages[0].body == body


@pytest.mark.parametrize(
    "raw",
    [
        text("fr-20", head=b"X-A: one\rX-Injected: y\r\n" + HEAD),
        text("fr-21", head=b"X-A: one\nX-Injected: y\r\n" + HEAD),
        text("fr-22", head=b"X-A: o\x00ne\r\n" + HEAD),
        text("fr-22", body=b"one\x00two\r\n"),
        text("fr-48", head=b" X-Glued: y\r\n" + HEAD),
        text("fr-49", head=b"".join(b"Received: from a by b; %d\r\n" % n for n in range(120)) + HEAD),
        text("fr-50", head=HEAD + b"From: <alice@acme.example>\r\n"),
    ],
    ids=["fr-20 CR", "fr-21 LF", "fr-22 header", "fr-22 body", "fr-48", "fr-49", "fr-50"],
)
def test_fr_20_to_50_a_broken_message_is_refused_and_the_session_goes_on(
    client: Client, house: Relay, hop: NextHop, raw: bytes
) -> None:
    assert re.match(rb"55[04] 5", client.submit(A, BOB, raw))
    assert client.submit(A, BOB, text("fr-after")).startswith(b"250")
    quiet(house, hop, 1)


def test_fr_35_too_much_is_refused_and_the_session_goes_on(
    client: Client, house: Relay, hop: NextHop
) -> None:
    body = (b"x" * 70 + b"\r\n") * 16000
    assert client.submit(A, BOB, text("fr-35", body=body)).startswith(b"552")
    assert client.say(b"NOOP").startswith(b"250")
    quiet(house, hop, 0)


def test_fr_37_chunks_arrive_as_they_were_sent(client: Client, hop: NextHop) -> None:
    raw = text("fr-37", body=b"one\r\n.\r\n..two\r\n")
    client.envelope(A, BOB)
    client.send(b"BDAT 30\r\n" + raw[:30] + b"BDAT %d LAST\r\n" % (len(raw) - 30) + raw[30:])
    assert client.reply().startswith(b"250")
    assert client.reply().startswith(b"250")
    assert hop.messages[0].body == b"one\r\n.\r\n..two\r\n"


def test_fr_44_a_session_in_one_segment_is_answered_in_order(client: Client, hop: NextHop) -> None:
    first = b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (A, BOB)
    client.send(first + text("fr-44") + b".\r\nMAIL FROM:<%s>\r\nRSET\r\nQUIT\r\n" % A)
    codes = [client.reply()[:3] for _ in range(7)]
    assert codes == [b"250", b"250", b"354", b"250", b"250", b"250", b"221"]
    assert len(hop.messages) == 1


def test_fr_46_a_quoted_local_part_is_the_same_at_the_next_hop_or_refused(
    client: Client, hop: NextHop
) -> None:
    odd = b'"victim@partner.example x"@acme.example'
    if client.submit(A, odd, text("fr-46")).startswith(b"250"):
        assert hop.messages[0].rcpts == (odd,)


def test_fr_47_a_source_route_is_refused_or_stripped(client: Client, hop: NextHop) -> None:
    if client.submit(A, b"@evil.example,@b.example:bob@partner.example", text("fr-47")).startswith(b"250"):
        assert hop.messages[0].rcpts == (BOB,)


def test_fr_51_the_next_hop_never_sees_control_characters_in_a_command(client: Client, hop: NextHop) -> None:
    for address in (b"bob\x00@partner.example", b"bob\x0b@partner.example", b"bob\x1b@partner.example"):
        with contextlib.suppress(OSError):
            client.say(b"RCPT TO:<%s>" % address)
    assert all(line.endswith(b"\r\n") and line[:-2].isascii() for line in hop.commands)
    assert not any(re.search(rb"[\x00-\x1f\x7f]", line[:-2]) for line in hop.commands)


@pytest.mark.parametrize(
    "raw",
    [HEAD, BODY, b"\r\n", b"", b"\r\n" + BODY, HEAD + b"\r\n"],
    ids=["headers only", "body only", "one line end", "nothing", "no header", "no body"],
)
def test_fr_58_a_fragment_is_refused_or_arrives_once(
    client: Client, house: Relay, hop: NextHop, raw: bytes
) -> None:
    answer = client.submit(A, BOB, raw)
    assert answer[:1] in b"25"
    assert client.say(b"NOOP").startswith(b"250")
    held = b"Held until" in answer
    quiet(house, hop, 1 if answer.startswith(b"2") and not held else 0)


def test_fr_57_text_in_eight_bits_never_goes_raw_to_a_server_of_seven(house: Relay, hop: NextHop) -> None:
    hop.offers = (b"PIPELINING",)
    hop.down()  # what is pooled knows the old offers
    hop.up()
    body = "Grüße aus Köln, bis Donnerstag.\r\n".encode()
    head = HEAD + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    with Client(house, LOGIN) as client:
        client.say(b"NOOP")
        client.submit(A, BOB, text("fr-57", head=head, body=body))
        assert all(one.raw.isascii() for one in hop.messages)
        hop.friendly()
        hop.down()  # and what is pooled now must not teach the next test that it takes seven bits only
        hop.up()
        assert client.submit(A, BOB, text("fr-57-after")).startswith(b"250")
