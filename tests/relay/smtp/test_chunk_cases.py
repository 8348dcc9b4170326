"""BDAT: any text, and refused chunks that are consumed (CASES.md FR-37, FR-38; RFC 3030)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.relay.smtp.harness import Service

MAIL, RCPT = b"MAIL FROM:<user@example.org>", b"RCPT TO:<b@example.net>"
REFUSED = ("4", "5")


async def test_fr_37_chunks_hold_any_text(service: Service) -> None:
    first, rest = b"Subject: chunk\r\n\r\nline one\r\n.", b"\r\nMAIL FROM:<a@b.example>\r\n"
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(RCPT, "250")
        await client.send(b"BDAT %d\r\n" % len(first) + first + b"BDAT %d LAST\r\n" % len(rest) + rest)
        assert (await client.reply()).startswith("250")
        assert (await client.reply()).startswith("250")
        await client.expect("NOOP", "250")
    assert [message.text for message in service.door.messages] == [first + rest]


@pytest.mark.parametrize(
    "argument", ["100000000000000000", "-1", "abc", "1 LAST LAST", "", "9" * 60, "0x10", "1  LAST"]
)
async def test_fr_38_bad_chunks_are_refused_at_once(service: Service, argument: str) -> None:
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(RCPT, "250")
        await client.expect(f"BDAT {argument}", "5")
        assert await client.ended()
    assert service.door.messages == []


async def test_fr_38_data_after_bdat_is_refused(service: Service) -> None:
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(RCPT, "250")
        await client.send(b"BDAT 3\r\na\r\n")
        assert (await client.reply()).startswith("250")
        await client.expect("DATA", "503")
        await client.expect("MAIL FROM:<user@example.org>", "503")
        await client.expect(RCPT, "503")
        await client.expect(b"BDAT 0 LAST", "250")
    assert [message.text for message in service.door.messages] == [b"a\r\n"]


async def test_fr_38_a_refused_chunk_is_consumed(service: Service) -> None:
    async with await service.client() as client:
        await client.send(b"BDAT 12\r\nQUIT\r\nQUIT\r\n")
        assert (await client.reply()).startswith("503")
        await client.expect("NOOP", "250")
        await client.expect(MAIL, "250")
        await client.expect(RCPT, "250")
        await client.send(b"BDAT 6\r\nbare\n.")
        assert (await client.reply()).startswith("554")
        await client.send(b"BDAT 6 LAST\r\nQUIT\r\n")
        assert (await client.reply()).startswith("503")
        await client.expect("RSET", "250")
    assert service.door.messages == []
