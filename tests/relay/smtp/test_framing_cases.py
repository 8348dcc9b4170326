"""CASES group FR on a live port; each test is named after its case."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.relay.smtp.harness import Client, Service, Services

MAIL, RCPT = b"MAIL FROM:<user@example.org>", b"RCPT TO:<b@example.net>"
REFUSED = ("4", "5")

ENDS = {
    "FR-01": b"\n.\n",
    "FR-02": b"\n.\r\n",
    "FR-03": b"\r\n.\n",
    "FR-04": b"\r.\r\n",
    "FR-05": b"\r\n.\r",
    "FR-06": b"\r.\r",
    "FR-07": b"\n.\r",
    "FR-08": b"\r.\n",
    "FR-09": b"\r\n.\r\r\n",
    "FR-10": b"\r\r\n.\r\r\n",
    "FR-11": b"\r\n\0.\r\n",
    "FR-12": b"\r\n.\0\r\n",
}
SPLITLINES = {
    "VT": b"\x0b.\x0b",
    "FF": b"\x0c.\x0c",
    "FS": b"\x1c.\x1c",
    "NEL": b"\xc2\x85.\xc2\x85",
    "LS": b"\xe2\x80\xa8.\xe2\x80\xa8",
}
SMUGGLED = (
    b"MAIL FROM:<user@example.org>\r\nRCPT TO:<x@example.net>\r\nDATA\r\nSubject: in\r\n\r\nsmuggled\r\n.\r\n"
)


async def quiet(client: Client, seconds: float = 0.15) -> bool:
    """Tell whether the server says nothing for a while (that is what is being tested)."""
    try:
        await asyncio.wait_for(client.line(), seconds)
    except TimeoutError:
        return True
    return False


async def still_serves(service: Service) -> None:
    """Global rule G: another client gets its greeting."""
    async with await service.connect() as other:
        assert (await asyncio.wait_for(other.reply(), 2)).startswith("220")


@pytest.mark.parametrize("case", ENDS)
async def test_fr_01_to_12_only_crlf_dot_crlf_ends_data(service: Service, case: str) -> None:
    async with await service.client() as client:
        await client.open_message()
        sequence = b"Subject: a\r\n\r\nlead" + ENDS[case] + SMUGGLED
        await client.send(sequence[: sequence.index(ENDS[case]) + len(ENDS[case]) + 4])
        assert await quiet(client)
        await client.send(sequence[sequence.index(ENDS[case]) + len(ENDS[case]) + 4 :])
        assert (await client.reply()).startswith("554 5.6.0")
        assert await quiet(client)
        await client.expect("NOOP", "250")
    assert service.door.messages == []


@pytest.mark.parametrize("case", SPLITLINES)
async def test_fr_13_other_line_separators_are_text(service: Service, case: str) -> None:
    async with await service.client() as client:
        await client.open_message()
        text = b"Subject: a\r\n\r\nlead" + SPLITLINES[case] + b"MAIL FROM:<user@example.org>\r\n"
        await client.send(text)
        assert await quiet(client)
        await client.send(b".\r\n")
        assert (await client.reply()).startswith("250")
    assert [message.text for message in service.door.messages] == [text]


async def test_fr_14_a_bare_end_after_a_huge_line(service: Service) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"x" * 70_000 + b"\n.\n" + SMUGGLED)
        assert (await client.reply()).startswith("554")
        assert await quiet(client)
    assert service.door.messages == []


async def test_fr_15_the_discard_state_is_as_strict(services: Services) -> None:
    service = await services.start("message_size = 10000")
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"x" * 98 + b"\r\n")
        await client.send((b"x" * 98 + b"\r\n") * 200 + b"\r\n.\n" + SMUGGLED)
        assert (await client.reply()).startswith("552 5.3.4")
        assert await quiet(client)
    assert service.door.messages == []


async def test_fr_16_the_end_may_come_in_pieces(service: Service) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\ntext")
        for octet in b"\r\n.\r\n":
            await client.send(bytes([octet]))
            await asyncio.sleep(0.02)
        assert (await client.reply()).startswith("250")
    assert [message.text for message in service.door.messages] == [b"Subject: a\r\n\r\ntext\r\n"]


@pytest.mark.parametrize(
    "body",
    [
        b"..\r\n", b".x\r\n", b"...\r\n", b". \r\n", b"\r\n", b"." + b"d" * 900 + b"\r\n",
        b"\r\n\r\n..\r\n.\r\n",
        b"x" * 998 + b"\r\n", b"." + b"y" * 997 + b"\r\n", bytes(range(128, 256)) + b"\r\n",
    ],
)  # fmt: skip
async def test_fr_17_18_the_text_arrives_octet_by_octet(service: Service, body: bytes) -> None:
    text = b"Subject: a\r\n\r\n" + body
    stuffed = text.replace(b"\r\n.", b"\r\n..")
    async with await service.client() as client:
        await client.open_message()
        await client.send(stuffed + b".\r\n")
        assert (await client.reply()).startswith("250")
    assert [message.text for message in service.door.messages] == [text]


@pytest.mark.parametrize("octets", [999, 100_000])
async def test_fr_19_a_line_too_long_is_refused_never_folded(service: Service, octets: int) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\n" + b"x" * octets + b"\r\n.\r\n")
        assert (await client.reply()).startswith("554 5.6.0")
        await client.expect("NOOP", "250")
    assert service.door.messages == []


@pytest.mark.parametrize("separator", [b"\r", b"\n"])
async def test_fr_20_21_no_new_header_by_a_bare_line_end(service: Service, separator: bytes) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"X-A: one" + separator + b"X-Injected: y\r\n\r\ntext\r\n.\r\n")
        assert (await client.reply()).startswith("554 5.6.0")
    assert service.door.messages == []


@pytest.mark.parametrize("text", [b"Subject: a\0b\r\n\r\ntext\r\n", b"Subject: a\r\n\r\nte\0xt\r\n"])
async def test_fr_22_nul_is_refused(service: Service, text: bytes) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(text + b".\r\n")
        assert (await client.reply()).startswith("554 5.6.0")
    assert service.door.messages == []


async def test_fr_23_a_command_that_ends_with_lf_is_not_run(service: Service) -> None:
    async with await service.client() as client:
        assert (await client.ask(b"NOOP\nNOOP")).startswith("421 4.5.2")
        assert await client.ended()
    await still_serves(service)


@pytest.mark.parametrize("separator", [b"\n", b"\r", b"\r\r\n"])
async def test_fr_24_25_no_second_recipient_by_a_bare_line_end(service: Service, separator: bytes) -> None:
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        reply = await client.ask(b"RCPT TO:<x@example.net>" + separator + b"RCPT TO:<evil@example.net>")
        assert reply.startswith("421")
        assert await client.ended()
    assert "rcpt" not in service.door.calls


@pytest.mark.parametrize("octet", [b"\0", b"\1", b"\x1b", b"\x7f", b"\x0b", b"\t"])
async def test_fr_26_27_no_controls_in_addresses(service: Service, octet: bytes) -> None:
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(b"RCPT TO:<a" + octet + b"b@example.net>", *REFUSED)
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(b"RCPT TO:<a@example.net" + octet + b".evil>", *REFUSED)
    assert "rcpt" not in service.door.calls


@pytest.mark.parametrize("address", ["tést@example.net".encode(), "tést@example.net".encode("latin-1")])
async def test_fr_28_other_letters_need_smtputf8(service: Service, address: bytes) -> None:
    async with await service.client() as client:
        assert (await client.ask(b"MAIL FROM:<" + address + b">")).startswith("553 5.6.7")
        await client.expect(MAIL, "250")
        assert (await client.ask(b"RCPT TO:<" + address + b">")).startswith("553 5.6.7")


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        *[(f"RCPT TO:<b@d.example> {word}", ("555",)) for word in ("FOO=BAR", "X-Y", "SIZE=1")],
        *[(f"RCPT TO:{word}", ("501",)) for word in ("b@d.example", "<b@d.example", "b@d.example>", "", "<")],
        *[
            (f"RCPT TO:<{address}>", ("501", "553"))
            for address in ("a@b@d.example", "@d.example", "a..b@d.example", ".a@d.example", "a.@d.example",
                            "a@d..example", "a b@d.example", "a@-d.example", "a@d.example.", "a@", "a", "",
                            " a@d.example", "a@d_e.example", "a@[1.2.3]", "a@[IPv6:zz]", "a,b@d.example",
                            "a@d.example,c@d.example", "a@" + "x" * 64 + ".example", "(c)a@d.example")
        ],
        *[
            (f"MAIL FROM:<> SIZE={size}", ("501",))
            for size in ("-1", "1e9", "0x10", "\u0661\u0662", "9" * 40, "", "1 SIZE=2")
        ],
        ("MAIL FROM:<> BODY=BINARYMIME", ("501", "555")),
        ("MAIL FROM:<> FOO=BAR", ("555",)),
        ("MAIL FROM:<> RET=ALL", ("501",)),
        ("MAIL FROM:<> ENVID=a+zz", ("501",)),
        ("MAIL FROM:<> SMTPUTF8=1", ("501",)),
        ("RCPT TO:<b@d.example> NOTIFY=NEVER,FAILURE", ("501",)),
        ("RCPT TO:<b@d.example> NOTIFY=OFTEN", ("501",)),
        ("RCPT TO:<b@d.example> ORCPT=b@d.example", ("501",)),
        ("RCPT TO:<@evil.example,@b.example:x@d.example>", ("553",)),
        ("MAIL FROM:<user@example.org>x", ("501",)),
        ("MAIL TO:<user@example.org>", ("501",)),
        ("MAIL", ("501",)),
        ("RCPT TO:<b@d.example>  NOTIFY=NEVER", ("501",)),
    ],
)  # fmt: skip
async def test_fr_29_30_31_33_47_bad_syntax_is_refused(
    open_service: Service, command: str, codes: tuple[str, ...]
) -> None:
    async with await open_service.client() as client:
        if command.startswith("RCPT"):
            await client.expect(MAIL, "250")
        await client.expect(command, *codes)
        await client.expect("NOOP", "250")
    assert "rcpt" not in open_service.door.calls


@pytest.mark.parametrize("address", [b"a" * 5000 + b"@example.net", b"a@" + b"d" * 5000 + b".example"])
async def test_fr_32_huge_addresses_are_refused(service: Service, address: bytes) -> None:
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(b"RCPT TO:<" + address + b">", "500", "501", "553")
        await client.expect("NOOP", "250")


async def test_fr_34_an_announced_size_above_the_limit_is_refused_at_once(service: Service) -> None:
    limit = service.listener.settings.message_octets
    async with await service.client() as client:
        await client.expect(f"MAIL FROM:<user@example.org> SIZE={limit + 1}", "552 5.3.4")
        await client.expect(f"MAIL FROM:<user@example.org> SIZE={limit}", "250")


async def test_fr_35_too_big_is_refused_after_the_dot(services: Services) -> None:
    service = await services.start("message_size = 300000")
    async with await service.client() as client:
        await client.open_message()
        await client.send((b"x" * 98 + b"\r\n") * 4000 + b".\r\n")
        assert (await client.reply()).startswith("552 5.3.4")
        await client.expect("NOOP", "250")
    assert service.door.messages == []


async def test_fr_36_smtputf8(service: Service) -> None:
    async with await service.client() as client:
        await client.expect("MAIL FROM:<tést@example.org> SMTPUTF8", "250")
        await client.expect("RCPT TO:<пользователь@пример.example>", "250")
        await client.expect(b"RCPT TO:<\xff\xfe@d.example>", "553")
        await client.expect("RCPT TO:<a\u200bb@d.example>", "553")
        await client.expect("RCPT TO:<a\u202eb@d.example>", "553")
        await client.expect("RCPT TO:<a@d\u3002example>", "553")
        await client.expect("DATA", "354")
        await client.send("Subject: Grüße\r\n\r\n".encode() + b".\r\n")
        assert (await client.reply()).startswith("250")
    (message,) = service.door.messages
    assert message.sender == "tést@example.org"
    assert message.recipients == ("пользователь@пример.example",)
    assert message.mail.smtputf8


async def test_fr_39_a_long_command_gets_one_answer(service: Service) -> None:
    async with await service.client() as client:
        assert (await client.ask(b"NOOP " + b"x" * 65_536)).startswith("500 5.5.2")
        await client.expect("NOOP", "250")
        await client.expect(b"NOOP " + b"x" * 3000, "500")


async def test_fr_40_an_endless_line_is_cut(open_service: Service) -> None:
    async with await open_service.client() as client:
        sent = 0
        try:
            while sent < 16 << 20:
                await client.send(b"x" * 65_536)
                sent += 65_536
        except ConnectionError:
            pass
        reply = await client.reply()
        assert reply == "" or reply.startswith("421")
        assert await client.ended()
    await still_serves(open_service)


async def test_fr_41_long_addresses_within_the_limits_pass(service: Service) -> None:
    local = "a" * 64
    domain = ".".join(["d" * 60, "e" * 60, "f" * 55, "example"])
    assert len(f"{local}@{domain}") == 250
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect(f"RCPT TO:<{local}@{domain}>", "250")
        await client.expect(f"RCPT TO:<a{local}@example.net>", "553")


async def test_fr_42_commands_out_of_order(service: Service) -> None:
    async with await service.client() as client:
        await client.expect(RCPT, "503")
        await client.expect("DATA", "503")
        await client.expect(MAIL, "250")
        await client.expect(MAIL, "503")
        await client.expect("DATA", "503")
        await client.expect(RCPT, "250")
        await client.expect("DATA", "354")
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        await client.expect(RCPT, "503")


async def test_fr_43_rset_and_ehlo_forget_the_transaction(service: Service) -> None:
    async with await service.client() as client:
        for command in ("RSET", "EHLO client.example"):
            await client.expect(MAIL, "250")
            await client.expect(RCPT, "250")
            await client.expect(command, "250")
            await client.expect("DATA", "503")


async def test_fr_44_a_whole_session_in_one_segment(open_service: Service) -> None:
    async with await open_service.client() as client:
        message = MAIL + b"\r\n" + RCPT + b"\r\nDATA\r\nSubject: a\r\n\r\ntext\r\n.\r\n"
        await client.send(message + MAIL + b"\r\nRSET\r\nQUIT\r\n")
        answers = [await client.reply() for _ in range(7)]
        assert [answer[:3] for answer in answers] == ["250", "250", "354", "250", "250", "250", "221"]
        assert await client.ended()
    assert len(open_service.door.messages) == 1


async def test_fr_45_http_is_hung_up_on(open_service: Service) -> None:
    async with await open_service.connect() as client:
        assert (await client.reply()).startswith("220")
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO e\r\nNOOP\r\n")
        assert (await client.reply()).startswith("421")
        assert await client.ended()


async def test_fr_46_quoted_local_parts_stay_as_they_are(service: Service) -> None:
    async with await service.client() as client:
        await client.expect(MAIL, "250")
        await client.expect('RCPT TO:<"victim@d x"@example.net>', "250")
        await client.expect(r'RCPT TO:<"a\"b>"@example.net>', "250")
        await client.expect("DATA", "354")
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        await client.reply()
    assert service.door.messages[0].recipients == ('"victim@d x"@example.net', r'"a\"b>"@example.net')


@pytest.mark.parametrize("first", [b" X-Glued: y", b"\tX-Glued: y"])
async def test_fr_48_the_first_line_cannot_continue_our_trace_header(service: Service, first: bytes) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(first + b"\r\nSubject: a\r\n\r\ntext\r\n.\r\n")
        assert (await client.reply()).startswith("554 5.6.0")
    assert service.door.messages == []


async def test_fr_49_a_loop_is_broken(service: Service) -> None:
    async with await service.client() as client:
        for count, code in ((50, "250"), (51, "554 5.4.6"), (120, "554 5.4.6")):
            await client.open_message()
            await client.send(
                b"Received: from a by b\r\n" * count + b"Subject: a\r\n\r\nReceived: x\r\n.\r\n"
            )
            assert (await client.reply()).startswith(code)


async def test_fr_54_limits_of_a_session_are_its_own(services: Services) -> None:
    service = await services.start("junk_commands = 200")
    async with await service.client() as first, await service.client() as second:
        for _ in range(100):
            await first.expect("EHLO client.example", "250")
        address = "a" * 64 + "@" + ".".join(["d" * 60] * 3)
        padding = " AUTH=" + "x" * (540 - len(f"MAIL FROM:<{address}> AUTH="))
        await second.expect(f"MAIL FROM:<{address}>{padding}"[:540], "250")


@pytest.mark.parametrize("text", [b"Subject: only\r\n", b"body only\r\n", b"\r\n", b""])
async def test_fr_58_odd_messages_are_taken_or_refused_once(service: Service, text: bytes) -> None:
    async with await service.client() as client:
        await client.open_message()
        await client.send(text + b".\r\n")
        assert (await client.reply()).startswith(("250", "554"))
        await client.expect("NOOP", "250")
    assert [message.text for message in service.door.messages] in ([text], [])
