from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp import grammar
from relay.smtp import reply as replies
from relay.smtp.grammar import Chunk, MailFrom, RcptTo
from relay.smtp.reply import Reply

LONG = ".".join(["d" * 60, "e" * 60, "f" * 60])


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"FROM:<>", MailFrom("")),
        (b"FROM:<a@b.example>", MailFrom("a@b.example")),
        (b"from: <a.b+c@b.example>", MailFrom("a.b+c@b.example")),
        (b"FROM:<A@B.Example> SIZE=12", MailFrom("A@B.Example", 12)),
        (b"FROM:<a@b.example> SIZE=0 BODY=8bitmime", MailFrom("a@b.example", 0, "8BITMIME")),
        (b"FROM:<a@b.example> BODY=7BIT SIZE=5", MailFrom("a@b.example", 5)),
        (b"FROM:<> RET=full ENVID=a+2Bb", MailFrom("", ret="FULL", envid="a+2Bb")),
        (b"FROM:<a@b.example> AUTH=<>", MailFrom("a@b.example", auth="<>")),
        (b"FROM:<a@b.example> AUTH=x+40y", MailFrom("a@b.example", auth="x+40y")),
        (b"FROM:<a@b.example> smtputf8", MailFrom("a@b.example", smtputf8=True)),
        (b"FROM:<a@[192.0.2.1]>", MailFrom("a@[192.0.2.1]")),
        (b"FROM:<a@[IPv6:2001:db8::1]>", MailFrom("a@[IPv6:2001:db8::1]")),
        (b'FROM:<"a b>c"@b.example> SIZE=1', MailFrom('"a b>c"@b.example', 1)),
        (b"FROM:<a@localhost>", MailFrom("a@localhost")),
        (b"FROM:<" + b"a" * 64 + b"@b.example>", MailFrom("a" * 64 + "@b.example")),
        (b"FROM:<" + b"a" * 65 + b"@b.example>", replies.BAD_SENDER),
        (b"FROM:<a@" + (LONG + "." + LONG).encode() + b">", replies.BAD_SENDER),
        (b'FROM:<"' + b"a" * 64 + b'"@b.example>', replies.BAD_SENDER),
        (b"FROM:<a@[IPv6:fe80::1%eth0]>", replies.BAD_SENDER),
        (b"FROM:<a@[300.1.1.1]>", replies.BAD_SENDER),
        (b"FROM:<postmaster>", replies.BAD_SENDER),
        (b"TO:<a@b.example>", replies.BAD_MAIL),
        (b"FROM:<a@b.example> ", replies.BAD_PARAMETER),
        (b"FROM:<a@b.example> SIZE", replies.BAD_SIZE),
        (b"FROM:<a@b.example> ENVID=" + b"x" * 101, replies.BAD_PARAMETER),
        (b"FROM:<a@b.example> AUTH=\xff", replies.BAD_PARAMETER),
        (b"FROM:<a@b.example> MT-PRIORITY=1", replies.NO_SUCH_PARAMETER),
        (b"FROM:<\xc3\xa9@b.example>", replies.SENDER_NEEDS_UTF8),
        (b"FROM:<\xc3\xa9@b.example> SMTPUTF8 SIZE=3", MailFrom("é@b.example", 3, smtputf8=True)),
        (b"FROM:<" + "é".encode() * 33 + b"@b.example> SMTPUTF8", replies.BAD_SENDER),
        (b"FROM:<a\xcc@b.example> SMTPUTF8", replies.BAD_SENDER),
        ("FROM:<é..a@b.example> SMTPUTF8".encode(), replies.BAD_SENDER),
        ("FROM:<é@>".encode(), replies.SENDER_NEEDS_UTF8),
        ("FROM:<é@> SMTPUTF8".encode(), replies.BAD_SENDER),
        ("FROM:<a@b_c.éxample> SMTPUTF8".encode(), replies.BAD_SENDER),
        ("FROM:<a@ÉXAMPLE.example> SMTPUTF8".encode(), MailFrom("a@ÉXAMPLE.example", smtputf8=True)),
    ],
)
def test_mail(argument: bytes, expected: MailFrom | Reply) -> None:
    assert grammar.mail_from(argument) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"TO:<a@b.example>", RcptTo("a@b.example")),
        (b"to: <a@b.example> notify=success,delay", RcptTo("a@b.example", ("SUCCESS", "DELAY"))),
        (
            b"TO:<a@b.example> NOTIFY=NEVER ORCPT=rfc822;A+2B@B.example",
            RcptTo("a@b.example", ("NEVER",), "rfc822;A+2B@B.example"),
        ),
        (b"TO:<Postmaster>", RcptTo("postmaster")),
        (b"TO:<postmaster> NOTIFY=NEVER", RcptTo("postmaster", ("NEVER",))),
        (b"TO:<>", replies.BAD_RECIPIENT),
        (b"TO:<a@b.example> NOTIFY", replies.BAD_PARAMETER),
        (b"TO:<a@b.example> NOTIFY=", replies.BAD_PARAMETER),
        (b"TO:<a@b.example> NOTIFY=SUCCESS,SUCCESS", replies.BAD_PARAMETER),
        (b"TO:<a@b.example> ORCPT=", replies.BAD_PARAMETER),
        (b"TO:<a@b.example> ORCPT=rfc822;" + b"x" * 500, replies.BAD_PARAMETER),
        (b"TO:<a@b.example> ORCPT=utf-8;\xc3\xa9@b.example", replies.BAD_PARAMETER),
        (b"FROM:<a@b.example>", replies.BAD_RCPT),
    ],
)  # fmt: skip
def test_rcpt(argument: bytes, expected: RcptTo | Reply) -> None:
    assert grammar.rcpt_to(argument) == expected


def test_international_recipients() -> None:
    assert grammar.rcpt_to("TO:<é@b.example>".encode(), utf8=True) == RcptTo("é@b.example")
    orcpt = "utf-8;é@b.example"
    assert grammar.rcpt_to(f"TO:<é@b.example> ORCPT={orcpt}".encode(), utf8=True) == RcptTo(
        "é@b.example", (), orcpt
    )


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"0", Chunk(0, last=False)),
        (b"86 LAST", Chunk(86, last=True)),
        (b"86 last", Chunk(86, last=True)),
        (b"86 ", replies.BAD_BDAT),
        (b"+1", replies.BAD_BDAT),
        (b"\xd9\xa1", replies.BAD_BDAT),
    ],
)
def test_bdat(argument: bytes, expected: Chunk | Reply) -> None:
    assert grammar.bdat(argument) == expected


@pytest.mark.parametrize(
    "name", [b"client.example", b"[192.0.2.1]", b"[IPv6:2001:db8::1]", b"my_pc", b"localhost", b" x "]
)
def test_good_names(name: bytes) -> None:
    assert grammar.helo(name) == name.strip().decode()


@pytest.mark.parametrize("name", [b"", b" ", b"a b", b"a\x1bb", b"\xc3\xa9", b"x" * 300, b"a\tb"])
def test_bad_names(name: bytes) -> None:
    assert grammar.helo(name) is replies.BAD_HELO


_COMMAND = st.lists(
    st.sampled_from(
        [b"FROM:<", b"TO:<", b">", b"<", b"a", b"@", b".", b'"', b"\\", b" ", b"b.example", b"SIZE=", b"1",
         b"SMTPUTF8", b"\xc3\xa9", b"NOTIFY=NEVER", b"\0", b"\x1b", b"[192.0.2.1]", b"ORCPT=rfc822;x", b"=",
         b"\xff", b"\xe2\x80\x8b", b"("]
    ),
    max_size=14,
).map(b"".join)  # fmt: skip


@given(st.sampled_from([b"FROM:<", b"TO:<", b""]), _COMMAND)
def test_nothing_hostile_comes_through(prefix: bytes, rest: bytes) -> None:
    """Whatever is said, an accepted address is printable, of one line, and stands in the command as it is."""
    argument = prefix + rest
    for result in (grammar.mail_from(argument), grammar.rcpt_to(argument, utf8=True)):
        if isinstance(result, Reply):
            assert 500 <= result.code <= 555
            continue
        address = result.sender if isinstance(result, MailFrom) else result.recipient
        assert address.encode() in argument or address == "postmaster"
        assert all(letter.isprintable() for letter in address)
        assert not address or address.count("@") >= 1 or address == "postmaster"
