from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.relay.smtp.harness import Service


async def test_a_message_goes_through(service: Service) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: hello\r\n\r\n..dot\r\n.\r\n")
        assert (await client.reply()).startswith("250 2.0.0")
        assert (await client.ask("QUIT")).startswith("221 2.0.0")
        assert await client.ended()
    (message,) = service.door.messages
    assert message.text == b"Subject: hello\r\n\r\n.dot\r\n"
    assert message.recipients == ("b@example.net",)


async def test_a_message_in_chunks_goes_through(service: Service) -> None:
    async with await service.client() as client:
        await client.expect("MAIL FROM:<user@example.org>", "250")
        await client.expect("RCPT TO:<b@example.net>", "250")
        await client.send(b"BDAT 12\r\nSubject: x\r\n")
        assert (await client.reply()).startswith("250")
        await client.send(b"BDAT 9 LAST\r\n\r\n.\r\nabcd")
        assert (await client.reply()).startswith("250")
    assert service.door.messages[0].text == b"Subject: x\r\n\r\n.\r\nabcd\r\n"


async def test_the_door_hears_that_its_answer_arrived(service: Service) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: hello\r\n\r\nx\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        assert service.door.heard == []
        await client.expect("NOOP", "250")
        assert service.door.heard == [True]


async def test_the_door_hears_that_a_client_left_without_a_word(service: Service) -> None:
    async with await service.client() as client:
        await client.open_message()
        # what came before the answer proves nothing about its arrival
        await client.send(b"Subject: hello\r\n\r\nx\r\n.\r\nQUIT\r\n")
        assert (await client.reply()).startswith("250")
        assert (await client.reply()).startswith("221")
        assert await client.ended()
    assert service.door.heard == [False]
