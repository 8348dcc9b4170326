"""Mail whose structure is made so that some programs see a program or a link, and a filter does not."""

from __future__ import annotations

import base64
import binascii
import quopri
import struct
import tracemalloc

import pytest

from screening.ruleset import Ruleset
from tests.screening.mails import HEAD, body, raw

PROGRAM = b"MZ\x90\0\3\0\0\0" + bytes(200)
ENCODED = base64.encodebytes(PROGRAM).replace(b"\n", b"\r\n")
FILE = (
    b"Content-Type: application/octet-stream; name=a.dat\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n" + ENCODED
)


def parts(boundary: bytes, file: bytes = FILE) -> bytes:
    return (
        b"--" + boundary + b"\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"
        b"--" + boundary + b"\r\n" + file + b"\r\n--" + boundary + b"--\r\n"
    )


def mixed(parameters: bytes, boundary: bytes = b"bb", file: bytes = FILE) -> bytes:
    return HEAD + b"Content-Type: multipart/mixed; " + parameters + b"\r\n\r\n" + parts(boundary, file)


def attached(name: bytes, data: bytes) -> bytes:
    file = b'Content-Type: application/octet-stream; name="' + name + b'"\r\n'
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    return mixed(b"boundary=bb", file=file + b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded)


def tnef(*attributes: tuple[int, bytes]) -> bytes:
    """Return an Outlook message of these attributes (MS-OXTNEF)."""
    return struct.pack("<IH", 0x223E9F78, 1) + b"".join(
        struct.pack("<BII", 2, kind, len(value)) + value + b"\0\0" for kind, value in attributes
    )


def uuencoded() -> bytes:
    """Return the program uuencoded with a checksum at the end of each line, as some encoders write it."""
    pieces = (PROGRAM[place : place + 45] for place in range(0, len(PROGRAM), 45))
    lines = b"".join(binascii.b2a_uu(piece).rstrip(b"\n") + b"X\r\n" for piece in pieces)
    return b"begin 644 a.dat\r\n" + lines + b"`\r\nend\r\n"


LONG_NAME = b"\x1f\0\x07\x37" + struct.pack("<II", 1, 14) + "run.js\0".encode("utf-16-le")
MANY_PARTS = (
    b"Content-Type: multipart/mixed; boundary=yy\r\n\r\n"
    + b"--yy\r\n\r\nx\r\n" * 999
    + b"--yy\r\nContent-Type: multipart/mixed; boundary=zz\r\n\r\n"
    + parts(b"zz")
)
OFTEN_NAMED = b"; ".join(b"p%d=x" % number for number in range(101))
TWO_ENCODINGS = FILE.replace(b"Content-Transfer", b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer")


@pytest.mark.parametrize(
    "mail",
    [
        pytest.param(mixed(b'boundary="=?a?Q?b?="', b"=?a?Q?b?="), id="boundary like an encoded word"),
        pytest.param(mixed(b'boundary="\xe9"', b"\xe9"), id="boundary of a Latin-1 letter"),
        pytest.param(mixed(b"boundary=bb cc"), id="boundary that ends at a blank"),
        pytest.param(mixed(OFTEN_NAMED + b"; boundary=bb"), id="boundary behind 100 parameters"),
        pytest.param(
            HEAD + b"Content-Type: (a;b) multipart/mixed; boundary=bb\r\n\r\n" + parts(b"bb"),
            id="comment before the type",
        ),
        pytest.param(
            HEAD
            + b"Content-Type: multipart/mixed; boundary=bb\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(parts(b"bb")).replace(b"\n", b"\r\n"),
            id="encoded multipart",
        ),
        pytest.param(mixed(b"boundary=bb", file=b"X-A: b\r\n" * 1000 + FILE), id="1000 fields before"),
        pytest.param(
            mixed(b"boundary=bb", file=b"no field\r\n" + TWO_ENCODINGS), id="two encodings behind a fault"
        ),
        pytest.param(
            mixed(b"boundary=bb", file=b"Content-Type: message/rfc822\r\n\r\n" + TWO_ENCODINGS),
            id="two encodings in a message",
        ),
        pytest.param(
            HEAD
            + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(MANY_PARTS).replace(b"\n", b"\r\n"),
            id="1000 parts in an encoded message",
        ),
        pytest.param(mixed(b"boundary=bb", file=FILE.replace(b": base64", b": x-base64")), id="x-base64"),
        pytest.param(mixed(b"boundary=bb", file=FILE.replace(b": base64", b": base64 x")), id="base64 x"),
        pytest.param(
            attached(b"a.eml", b"Content-Type: multipart/mixed; boundary=qq\r\n\r\n" + parts(b"qq")),
            id="message attached as a file",
        ),
        pytest.param(HEAD + b"\r\n" + uuencoded(), id="uuencoded with checksums"),
        pytest.param(
            attached(b"winmail.dat", tnef((0x18010, b"a.exe\0"), (0x6800F, PROGRAM))), id="program in TNEF"
        ),
        pytest.param(
            attached(b"winmail.dat", tnef((0x18010, b"A.TXT\0"), (0x6800F, b"x"), (0x69005, LONG_NAME))),
            id="long name in TNEF",
        ),
    ],
)
def test_a_program_behind_odd_mime_is_found_or_the_mail_refused(shipped: Ruleset, mail: bytes) -> None:
    verdict = shipped.screen(raw(mail))
    found = {hit.rule for hit in verdict.hits}
    assert verdict.malformed or found & {"program_attached", "program_in_archive"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zmluva.txt", "ZMLUVA O DIELO\r\nč. 5".encode()),
        ("minutes.txt", b"MZ-2024-01 Meeting notes\r\n"),
        ("water.csv", b"CWS,city,water\r\n1,2,3\r\n"),
        ("logo@acme.com", b"\x89PNG\r\n\x1a\n" + bytes(20)),
        ("winmail.dat", tnef((0x18010, b"notes.txt\0"), (0x6800F, b"Notes of Monday"))),
        ("a.eml", HEAD + b"\r\nSee you on Monday.\r\n"),
    ],
)
def test_ordinary_files_are_no_programs(shipped: Ruleset, name: str, data: bytes) -> None:
    verdict = shipped.screen(raw(attached(name.encode(), data)))
    assert not verdict.malformed
    assert "malware" not in {
        rule.group for rule in shipped.rules if rule.id in {h.rule for h in verdict.hits}
    }


def test_an_address_that_the_base_completes_counts_as_a_link() -> None:
    mail = body(b"<base href='https://evil.example/'><a href='login'>Log in</a>", b"text/html")
    assert "evil.example" in mail.linked


def test_links_of_tangled_html_are_read_whatever_follows_the_tag() -> None:
    links = b"<a\r\nhref='https://one.example/'>1</a><a\thref='&#104;ttps://two.example/'>2</a>"
    mail = body(b"<div>" * 3000 + links, b"text/html")
    assert mail.view.crude
    assert mail.linked == {"one.example", "two.example"}


def test_comments_and_blanks_push_nothing_out_of_sight() -> None:
    filler = b"<!-- " + b"x" * 300_000 + b" -->" + b" " * 300_000
    assert body(filler + b"<a href='https://evil.example/'>Log in</a>", b"text/html").linked == {
        "evil.example"
    }


def test_layers_of_encoded_messages_are_not_all_held_in_memory() -> None:
    inner = b"x" * 1_000_000
    layer = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    for _ in range(15):
        inner = layer + quopri.encodestring(inner)
    mail = raw(HEAD + inner)
    tracemalloc.start()
    assert "nested too deeply" in mail.malformed
    assert tracemalloc.get_traced_memory()[1] < 10 * len(mail.raw)
    tracemalloc.stop()
