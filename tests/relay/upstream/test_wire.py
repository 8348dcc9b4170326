from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.upstream import wire

OFFERED = {"SIZE": "1000", "8BITMIME": "", "DSN": "", "SMTPUTF8": "", "PIPELINING": ""}
ONE_LINE = re.compile(rb"[^\x00-\x1f\x7f]*\r\n")


@pytest.mark.parametrize(
    ("sender", "wanted", "line"),
    [
        ("", {}, b"MAIL FROM:<>\r\n"),
        ("a@x.example", {"size": 900}, b"MAIL FROM:<a@x.example> SIZE=900\r\n"),
        ('"a b\\" >"@x.example', {}, b'MAIL FROM:<"a b\\" >"@x.example>\r\n'),
        ("a@[192.0.2.1]", {}, b"MAIL FROM:<a@[192.0.2.1]>\r\n"),
        ("té@x.example", {"smtputf8": True}, "MAIL FROM:<té@x.example> SMTPUTF8\r\n".encode()),
        (
            "a@x.example",
            {"eight_bit": True, "ret": "HDRS", "envid": "q+2B1"},
            b"MAIL FROM:<a@x.example> BODY=8BITMIME RET=HDRS ENVID=q+2B1\r\n",
        ),
    ],
)
def test_mail(sender: str, wanted: dict[str, object], line: bytes) -> None:
    assert wire.mail(sender, OFFERED, wanted) == line


@pytest.mark.parametrize(
    ("sender", "wanted", "code", "status"),
    [
        ("a@x.example", {"size": 1001}, 552, "5.3.4"),
        ("a@x> SIZE=1", {}, 553, "5.1.7"),
        ("a b@x.example", {}, 553, "5.1.7"),
        ("a@x\r\nRSET", {}, 553, "5.1.7"),
        ("a@x\0", {}, 553, "5.1.7"),
        ('"a\r\nb"@x', {}, 553, "5.1.7"),
        ("a@\udcff", {"smtputf8": True}, 553, "5.1.7"),
        ("a@x.example", {"envid": "a b"}, 501, "5.5.4"),
        ("x" * 400 + "@x.example", {}, 553, "5.1.7"),
    ],
)
def test_mail_that_cannot_be_sent(sender: str, wanted: dict[str, object], code: int, status: str) -> None:
    with pytest.raises(wire.Unsendable) as error:
        wire.mail(sender, OFFERED, wanted)
    assert (error.value.reply.code, error.value.reply.status) == (code, status)


def test_a_sender_needs_a_server_that_takes_its_letters() -> None:
    with pytest.raises(wire.Unsendable) as error:
        wire.mail("té@x.example", {}, {})
    assert error.value.reply.status == "5.6.7"


ASCII, HEAD, TEXT = b"Subject: hi\r\n\r\nhello\r\n", "Subject: é\r\n\r\nhello\r\n", "Subject: e\r\n\r\né\r\n"


@pytest.mark.parametrize("cut", [0, 3, 12, 15])
@pytest.mark.parametrize(
    ("message", "offered", "utf8", "status"),
    [
        (ASCII, (), True, ""),  # Go's and others' clients say SMTPUTF8 and 8BITMIME of everything
        (TEXT.encode(), (), False, "5.6.3"),
        (TEXT.encode(), ("8BITMIME",), True, ""),
        (HEAD.encode(), ("8BITMIME",), True, "5.6.7"),
        (HEAD.encode(), ("8BITMIME",), False, ""),  # raw letters in a header, as many programs write them
        (HEAD.encode(), ("8BITMIME", "SMTPUTF8"), True, ""),
    ],
)
def test_what_a_message_needs_of_a_server_shows_in_the_message(
    message: bytes, offered: tuple[str, ...], status: str, cut: int, *, utf8: bool
) -> None:
    found = wire.unfit([message[:cut], message[cut:]], offered, smtputf8=utf8)
    assert (found.status if found else "") == status


def test_parameters_are_sent_only_where_offered() -> None:
    assert (
        wire.mail("a@x.example", {}, {"size": 9, "ret": "FULL", "envid": "q"})
        == b"MAIL FROM:<a@x.example>\r\n"
    )
    assert wire.rcpt("b@x.example", {}, ("NEVER",), "rfc822;b@x") == b"RCPT TO:<b@x.example>\r\n"
    line = b"RCPT TO:<b@x.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@x\r\n"
    assert wire.rcpt("b@x.example", OFFERED, ("SUCCESS", "DELAY"), "rfc822;b@x") == line


@pytest.mark.parametrize(
    ("value", "plain"),
    [("utf-8;bób@x", "utf-8;b\\x{F3}b@x"), ("utf-8;\U0001f600", "utf-8;\\x{1F600}"), ("utf-8;a\x85b", None)],
)
def test_an_international_original_recipient_goes_in_the_form_that_the_server_takes(
    value: str, plain: str | None
) -> None:
    """RFC 6533 §3: as UTF-8 where SMTPUTF8 is spoken, else spelled out; controls always are."""
    said = [wire.rcpt("b@x", offered, (), value) for offered in ({"DSN": "", "SMTPUTF8": ""}, {"DSN": ""})]
    spelled = (plain or "utf-8;a\\x{85}b").encode()
    assert said == [b"RCPT TO:<b@x> ORCPT=%s\r\n" % (value.encode() if plain else spelled),
                    b"RCPT TO:<b@x> ORCPT=%s\r\n" % spelled]  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.text(max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_fr_56_no_value_breaks_out_of_its_command(address: str, name: str, word: str) -> None:
    lines = []
    calls: tuple[Callable[[], bytes], ...] = (
        lambda: wire.mail(address, OFFERED, {"envid": word, "ret": name, "smtputf8": True}),
        lambda: wire.rcpt(address, OFFERED, (name,), word),
        lambda: wire.forward(
            "XCLIENT", "NAME ADDR HELO LOGIN", {"HELO": name, "ADDR": address, "LOGIN": word}
        ),
        lambda: wire.plain(name, word),
        lambda: wire.safe(address, "EHLO").encode() + b"\r\n",
    )
    for call in calls:
        try:
            lines.append(call())
        except wire.Unsendable:
            continue
    assert all(ONE_LINE.fullmatch(line) for line in lines if line)


def unstuff(raw: bytes) -> bytes:
    assert raw.endswith(b".\r\n")
    lines = raw[:-3].split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@given(
    st.lists(
        st.sampled_from([b"", b".", b"..", b"a", b".a", b"\r\n", b"\r", b"\n", b".\r\n", b"\r\n.", b"\n."]),
        max_size=9,
    )
)
def test_bodies_in_any_pieces_arrive_or_are_refused(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    clean = not re.search(rb"\r(?!\n)|(?<!\r)\n", whole)
    if not clean:
        with pytest.raises(wire.Unsendable, match="bare"):
            wire.body(pieces)
        return
    sent = b"".join(wire.body(pieces))
    assert unstuff(sent) in (whole, whole + b"\r\n")


@given(st.lists(st.sampled_from([b"", b"a", b"a.", b" .", b"=\xe9"]), max_size=9), st.integers(0, 9))
def test_what_needs_no_stuffing_leaves_the_same_unread(lines: list[bytes], cut: int) -> None:
    raw = [line + b"\r\n" for line in lines]
    pieces = [b".Received: x\r\n", b"".join(raw[:cut]), b"".join(raw[cut:])]
    assert b"".join(wire.body(pieces, undotted=True)) == b"".join(wire.body(pieces))


def test_what_is_said_to_need_no_stuffing_is_read_where_it_is_not_whole() -> None:
    for pieces in ([b"a\nb\r\n", b"c\r\n"], [b"a\r\n", b"b\rc"], [b"a", b".\r\n\n"]):
        with pytest.raises(wire.Unsendable):
            wire.body(pieces, undotted=True)


@pytest.mark.parametrize("body", [b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n", b"a\r\r\n", b"a\n\r\n", b"\r\na\r"])
def test_fr_20_to_22_bare_cr_lf_and_nul_never_leave(body: bytes) -> None:
    with pytest.raises(wire.Unsendable):
        wire.body([body])
