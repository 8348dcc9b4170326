"""How a message is made, said in short phrases: which fields, which program, how long, how loud."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screening.mail import Mail

_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = b"0123456789"
_BEYOND_ASCII = bytes(range(128, 256))
_LETTERS = re.compile(r"[a-z]+")
_ZONE = re.compile(r"[+-]\d{4}")
_KINDS = str.maketrans(
    dict.fromkeys("0123456789", "0")
    | dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A")
    | dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a")
)
_REPEATED = re.compile(r"(.)\1+")
_SAMPLE = 4000
#: a header of more fields is not remembered
_USUAL_FIELDS = 60


def size(number: int) -> int:
    """Return the number on a scale that doubles every two steps."""
    bits = number.bit_length()
    return bits if number < 4 else 2 * bits + (number >> (bits - 2) & 1)


def _count(text: bytes, wanted: bytes) -> int:
    """Return how many bytes of `text` are among `wanted`; far faster than a pattern."""
    return len(text) - len(text.translate(None, wanted))


def _digits(text: str) -> int:
    return _count(text.encode("utf-8", "replace"), _DIGITS)


def phrases(*texts: str) -> tuple[bytes, ...]:
    """Return phrases as tokens; one with a line end in it gives two."""
    return tuple("\n".join(texts).encode("utf-8", "replace").split(b"\n")) if texts else ()


def header(mail: Mail) -> Iterator[bytes]:
    """Return phrases on the header: fields present, program, structure, addresses, identifiers.

    What depends on a few values alone is kept: mail of one program has the same fields again and again.
    """
    author, names = mail.author, tuple([field.lower[:40] for field in mail.fields])
    reply = mail.mailboxes("reply-to")
    at_home = bool(reply) and reply[0].domain == author.domain
    answer = (
        "absent" if not mail.has("reply-to") else "at the same domain" if at_home else "at another domain"
    )
    return chain(
        _fields(names) if len(names) <= _USUAL_FIELDS else _fields.__wrapped__(names),
        _author(author.local, author.domain, len(author.display).bit_length()),
        (b"Reply-To " + answer.encode(), _threading(mail)),
        _identifiers(mail, author.domain),
        _structure(mail),
    )


@lru_cache(maxsize=1024)
def _fields(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return phrases(*{f"has {name}" for name in names})


@lru_cache(maxsize=2048)
def _author(local: str, domain: str, name_bits: int) -> tuple[bytes, ...]:
    return phrases(
        f"From local length {len(local).bit_length()}",
        f"From local digits {min(4, _digits(local[:64]))}",
        f"From domain digits {min(4, _digits(domain[:253]))}",
        f"From domain dots {domain.count('.')}",
        f"From domain hyphens {domain.count('-')}",
        f"From domain length {len(domain).bit_length()}",
        f"From name length {name_bits}",
    )


def _threading(mail: Mail) -> bytes:
    signs = (mail.has("in-reply-to"), mail.has("references"), mail.subject[:3].lower() == "re:")
    if not any(signs):
        return b"answers no mail"
    return b"answers a mail" if all(signs) else b"answers a mail by %d%d%d" % signs


def _identifiers(mail: Mail, domain: str) -> tuple[bytes, ...]:
    program = mail.raw_header("x-mailer") or mail.raw_header("user-agent")
    left, _, right = mail.raw_header("message-id")[:200].decode("latin-1").strip("<> ").rpartition("@")
    pattern = _pattern(left[:80])[:24]
    to = mail.raw_header("to")[:2000]
    zone = _ZONE.search(mail.raw_header("date")[:80].decode("latin-1"))
    return (
        *_program(program[:60]),
        *phrases(
            f"Message-ID like {pattern}",
            f"Message-ID length {len(left).bit_length()}",
            f"Message-ID {'of' if right.lower() == domain else 'not of'} the From domain",
            f"To addresses {to.count(b'@').bit_length()}",
            f"Cc addresses {mail.raw_header('cc')[:2000].count(b'@').bit_length()}",
            f"To {'un' * (b'undisclosed' in to.lower())}disclosed recipients",
            f"To {'with' if to.find(b'<') > 2 else 'without'} a name",
            f"zone {zone[0] if zone else 'missing'}",
        ),
    )


def _pattern(text: str) -> str:
    """Return what kinds of characters follow one another: a12-bb gives a0-a."""
    text = text.translate(_KINDS)
    for pair in ("aa", "AA", "00"):
        while pair in text:
            text = text.replace(pair, pair[0])
    return _REPEATED.sub(r"\1", text)


@lru_cache(maxsize=1024)
def _program(name: bytes) -> tuple[bytes, ...]:
    return phrases(*[f"program {word}" for word in _LETTERS.findall(name.decode("latin-1").lower())[:3]])


def _structure(mail: Mail) -> tuple[bytes, ...]:
    kind = mail.raw_header("content-type")[:200].lower().decode("latin-1")
    charset = kind.partition("charset=")[2].partition(";")[0].strip("\"' ")
    encoding = mail.raw_header("content-transfer-encoding")[:20].lower().decode("latin-1")
    parts = mail.parts
    out = [f"part {part.media_type}" for part in parts[:20]]
    out += (
        f"Content-Type {kind.partition(';')[0].strip()[:60]}",
        f"encoding {encoding}",
        f"charset {charset[:14]}",
        f"parts {min(8, len(parts))}",
    )
    for attachment in mail.attachments[:10]:
        out.append(f"attached {attachment.kind}")
        out.append(f"attached .{attachment.filename.rpartition('.')[2][:8].lower()}")
    return phrases(*out)


def text(mail: Mail, folded: bytes, words: int) -> tuple[bytes, ...]:
    """Return phrases on length, capitals, digits and marks of text (UTF-8, folded) and subject.

    A file with bare line feeds gives the same phrases as the message on the wire.
    """
    html = mail.html
    sample = folded[:_SAMPLE]
    length = len(sample) + 1
    subject = mail.subject[:400].encode("utf-8", "replace")
    subject_length = len(subject) + 1
    return phrases(
        f"text length {size(len(mail.folded))}",
        f"HTML length {size(len(html) - html.count(chr(13)))}",
        f"quoted lines {mail.plain[:20_000].count(chr(10) + '>').bit_length()}",
        f"capitals {20 * _count(sample, _CAPITALS) // length}",
        f"digits {20 * _count(sample, _DIGITS) // length}",
        f"exclamation marks {min(8, sample.count(b'!'))}",
        f"dollar signs {min(8, sample.count(b'$'))}",
        f"word length {2 * len(folded) // (words + 1)}",
        f"beyond ASCII {8 * _count(sample, _BEYOND_ASCII) // length}",
        f"subject capitals {8 * _count(subject, _CAPITALS) // subject_length}",
        f"subject exclamation marks {min(3, subject.count(b'!'))}",
        f"subject question marks {min(3, subject.count(b'?'))}",
        f"subject {'' if subject.isascii() else 'beyond '}ASCII",
        f"subject length {len(subject).bit_length()}",
        f"subject blanks {b'   ' in subject:d}",
        f"subject digits {min(4, _count(subject, _DIGITS))}",
    )
