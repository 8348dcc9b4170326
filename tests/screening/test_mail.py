from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screening.facts import FACTS
from screening.plain import folded, mixed_words, shown
from screening.ruleset import Ruleset
from tests.screening.mails import HEAD, body, mail_of, raw


def test_a_mail_does_not_change() -> None:
    mail = body(b"hello")
    with pytest.raises(AttributeError, match="does not change"):
        mail.raw = b"other"


def test_headers_are_decoded_once_and_found_in_any_case() -> None:
    mail = raw(b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?B?IQ==?=\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert mail.subject == "Gr\u00fc\u00dfe!"
    assert mail.headers("X-A") == ("1", "2")
    assert mail.header("x-A") == "1"
    assert mail.header("absent") == ""
    assert mail.raw_header("absent") == b""
    assert mail.from_ == ()
    assert mail.author.address == ""
    assert mail.author_domain == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?B?w7w?=", "\u00fc"),
        (b"=?utf-8?B?w7w=?= =?utf-8?B?w7w=?=", "\u00fc\u00fc"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "\u00fc"),
        (b"a =?iso-8859-1?Q?=FC?= b", "a \u00fc b"),
        (b"=?no-such?Q?=FC?=", "\ufffd"),
        (b"=?utf-8*en?Q?ok?=", "ok"),
        (b"\xfc", "\u00fc"),
        (b"=?utf-8?X?ok?=", "=?utf-8?X?ok?="),
        (b"=?zlib_codec?Q?ok?=", "ok"),
    ],
)
def test_encoded_words_are_read_leniently(value: bytes, text: str) -> None:
    assert raw(b"Subject: " + value + b"\r\n\r\n").subject == text


def test_pd10_evidence_is_shown_escaped_on_one_line() -> None:
    assert shown("a\r\nb\x1b[31m\u202ec") == "a b\\u001b[31m\\u202ec"
    assert len(shown("x" * 1000)) == 200


def test_folding_makes_disguised_words_plain() -> None:
    assert folded("P\u0430yP\u0430l \U0001d400 a\u200bb\u00ad c\u00a0 d") == "PayPal A ab c d"
    assert folded("\u041f\u0440\u0438\u0432\u0435\u0442 Anna") == "\u041f\u0440\u0438\u0432\u0435\u0442 Anna"
    assert mixed_words("P\u0430yP\u0430l \u041f\u0440\u0438\u0432\u0435\u0442") == ["P\u0430yP\u0430l"]


def test_html_under_a_false_label_is_read_as_html_too() -> None:
    mail = body(b"<p>See <a href='https://a.example/x'>this</a></p>")
    assert [link.host for link in mail.view.links] == ["a.example"]


def test_text_is_capped() -> None:
    assert len(body(b"x" * 2_000_000).text) == 256 * 1024


@pytest.mark.parametrize("name", FACTS)
def test_every_fact_is_a_plain_value(name: str) -> None:
    for mail in (body(b"hello"), raw(b""), mail_of({"recipients": []}), mail_of({"html": "<p>x"})):
        assert isinstance(FACTS[name].read(mail), bool | int | str)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_mail_that_can_be_judged(shipped: Ruleset, data: bytes) -> None:
    for text in (data, HEAD + b"\r\n" + data, HEAD + data):
        verdict = shipped.screen(raw(text))
        assert verdict.unanswered == ()
        assert all(hit.evidence.isprintable() and len(hit.evidence) <= 200 for hit in verdict.hits)


@given(
    st.lists(
        st.sampled_from(
            [
                b"--b\r\n",
                b"--b--\r\n",
                b"Content-Type: multipart/mixed; boundary=b\r\n",
                b"\r\n",
                b"text\r\n",
                b"Content-Type: message/rfc822\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b"begin 644 x\r\n",
                b"Content-Type: text/html\r\n",
                b"<a href=x>",
                b"QUJD\r\n",
                b"=",
                b" \r\n",
            ]
        ),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_order_of_structure_is_walked(shipped: Ruleset, pieces: list[bytes]) -> None:
    mail = raw(HEAD + b"".join(pieces))
    assert shipped.screen(mail).unanswered == ()
    assert sum(len(part.data) for part in mail.parts) <= 30 * len(mail.raw)
