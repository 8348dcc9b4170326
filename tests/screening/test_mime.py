from __future__ import annotations

import base64
from email import message_from_bytes, policy

import pytest

from screening.mail import Mail
from tests.screening.mails import HEAD, body, raw

MIXED = b'multipart/mixed; boundary="b"'


def leaves(mail: Mail) -> list[tuple[str, bytes]]:
    return [(part.media_type, part.data.strip()) for part in mail.parts]


def test_parts_are_decoded_leaves_in_order() -> None:
    mail = body(
        b"--b\r\nContent-Type: text/plain\r\n\r\none\r\n"
        b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>t=77o\r\n"
        b"--b\r\nContent-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: "
        b"base64\r\n\r\nJVBERg==\r\n--b--\r\n",
        MIXED,
    )
    assert leaves(mail) == [("text/plain", b"one"), ("text/html", b"<p>two"), ("application/pdf", b"%PDF")]
    assert mail.text == "one\ntwo"
    assert [(a.filename, a.kind) for a in mail.attachments] == [("x.pdf", "pdf")]
    assert mail.malformed == ""


def test_a_message_in_a_message_is_opened_also_when_encoded() -> None:
    inner = b"Subject: inner\r\nContent-Type: text/plain\r\n\r\ndeep text"
    plain = body(inner, b"message/rfc822")
    coded = body(base64.encodebytes(inner), b"message/rfc822", b"Content-Transfer-Encoding: base64\r\n")
    assert "deep text" in plain.text
    assert "deep text" in coded.text
    assert "encoded message" in coded.oddities


@pytest.mark.parametrize(
    ("case", "kind", "content", "expected"),
    [
        ("PD-18", b"multipart/mixed; boundary=b (x)", b"--b\r\n\r\nin\r\n--b--\r\n", "in"),
        ("PD-18", b'multipart/mixed; boundary*0="b"', b"--b\r\n\r\nin\r\n--b--\r\n", "in"),
        ("PD-19", MIXED, b"--b\r\n\r\nnever closed", "never closed"),
        ("PD-19", MIXED, b"see https://x.example/pre\r\n--b\r\n\r\nin\r\n--b--\r\n", "x.example/pre"),
        ("PD-19", MIXED, b"--b\r\n\r\nin\r\n--b--\r\nsee https://x.example/epi\r\n", "x.example/epi"),
        ("PD-23", b"text/plain; charset=utf-7", b"+AGE-bc", "abc"),
        ("PD-23", b"text/plain; charset=x-user-defined", b"abc\xe4", "abc\u00e4"),
        ("PD-23", b"text/plain; charset=utf-16le", "abc".encode("utf-16le"), "abc"),
        ("PD-26", b"text/plain", b"begin 644 x.exe\r\n#0V%T\r\n`\r\nend\r\n", "begin"),
        ("", b"multipart/mixed", b"no boundary at all", "no boundary at all"),
        ("", b"text", b"broken type", "broken type"),
    ],
)
def test_every_reading_of_an_odd_structure_is_scanned(
    case: str, kind: bytes, content: bytes, expected: str
) -> None:
    assert expected in body(content, kind).text, case


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        (b"base64", b"aGVs\r\n!!bG8="),
        (b"BASE64", b"aGVsbG8"),
        (b"base64 (x)", b"aGVsbG8="),
        (b"base64", b"aGU=bGxv"),
        (b"quoted-printable", b"hell=\r\no"),
        (b"x-uuencode", b"begin 644 a\r\n%:&5L;&\\\r\n`\r\nend\r\n"),
    ],
)
def test_pd20_and_21_transfer_encodings_are_read_as_lenient_programs_do(
    encoding: bytes, content: bytes
) -> None:
    mail = body(content, b"text/plain", b"Content-Transfer-Encoding: " + encoding + b"\r\n")
    assert "hello" in mail.text


def test_pd22_a_soft_break_does_not_split_a_link() -> None:
    mail = body(
        b"http://evil=\r\n.example/x", b"text/plain", b"Content-Transfer-Encoding: quoted-printable\r\n"
    )
    assert [link.host for link in mail.links] == ["evil.example"]


def test_pd24_all_readings_of_a_file_name_are_kept() -> None:
    mail = body(
        b"x",
        b'application/octet-stream; name="c.scr"',
        b"Content-Disposition: attachment; filename=a.txt; filename=\"b.exe\"; filename*=utf-8''d%2Ejs\r\n",
    )
    assert mail.parts[0].filenames == ("a.txt", "b.exe", "d.js", "c.scr")


def test_pd26_uuencoded_files_in_text_are_attachments() -> None:
    mail = body(b"see\r\nbegin 644 run.exe\r\n#35J0\r\n`\r\nend\r\n")
    assert [(a.filename, a.kind) for a in mail.attachments] == [("run.exe", "pe")]


@pytest.mark.parametrize(
    ("case", "mail", "fault"),
    [
        ("PD-25", body(b"x", b"message/partial; id=1"), "message/partial"),
        ("PD-25", body(b"x", b"message/external-body"), "message/external-body"),
        (
            "PD-16",
            body(b"--b\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx\r\n--b--", MIXED),
            "ambiguous",
        ),
        ("RE-10", body(b"--b\r\n\r\nx\r\n" * 100_000 + b"--b--", MIXED), "more than 1000 parts"),
        (
            "RE-11",
            body(
                b"".join(
                    b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1)
                    for n in range(5000)
                ),
                b"multipart/mixed; boundary=b0",
            ),
            "nested too deeply",
        ),
        ("PD-27", body(b"Content-Type: message/rfc822\r\n\r\n" * 30, b"message/rfc822"), "nested too deeply"),
        ("FR-22", body(b"a\0b"), "NUL"),
    ],
)
def test_what_cannot_be_checked_is_malformed(case: str, mail: Mail, fault: str) -> None:
    assert fault in mail.malformed, case
    assert mail.malformed.startswith("The message is malformed: ")


def test_the_walk_agrees_with_the_standard_library_on_ordinary_structures() -> None:
    text = HEAD + (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="o"\r\n\r\nnotice\r\n--o\r\n'
        b'Content-Type: multipart/alternative; boundary="i"\r\n\r\n--i\r\nContent-Type: '
        b"text/plain\r\n\r\nplain\r\n"
        b"--i\r\nContent-Type: text/html\r\n\r\n<p>rich</p>\r\n--i--\r\n--o\r\n"
        b"Content-Type: application/x; name=f\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--o--\r\n"
    )
    theirs = []
    for part in message_from_bytes(text, policy=policy.compat32).walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            theirs.append((part.get_content_type(), payload.strip()))
    assert leaves(raw(text)) == theirs
