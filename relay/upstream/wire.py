"""The bytes of an SMTP client: commands that cannot be injected into, bodies that cannot end early; pure."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from relay.upstream.reply import UpstreamReply

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

#: What most addresses are: no quotes, brackets, blanks, controls or non-ASCII.
_PLAIN = re.compile(r"[!#-;=?-Z^-~]{1,254}")
#: The rest: quoted local parts and literals. Every octet outside quotes stays one argument.
_ADDRESS = re.compile(
    r"(?:[^\x00-\x20\x7f-\x9f\"<>()\[\]\\,;]+|\"(?:[^\x00-\x1f\x7f-\x9f\"\\]|\\[\x20-\x7e])*\")"
    r"(?:@(?:[^\x00-\x20\x7f-\x9f\"<>()\[\]\\,;@]+|\[[!-Z^-~]+\]))?"
)
_SAFE = re.compile(r"[\x21-\x7e]{1,1000}")
#: one argument of a command between servers that both speak SMTPUTF8
_UNICODE = re.compile(r"[^\x00-\x20\x7f-\x9f\ud800-\udfff]+")
_XTEXT = re.compile(r"[^!-*,-<>-~]")
ADDRESS_CHARACTERS = 320
#: more than a header may have (relay.smtp.headers)
_HEADER_BYTES = 300 << 10


class Unsendable(ValueError):
    """A value would break out of its command, or the server lacks what it needs; `reply` says so."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.reply = UpstreamReply(code, status, text)


def safe(value: str, what: str) -> str:
    """Return `value` if it is one printable ASCII argument; Unsendable otherwise."""
    if not _SAFE.fullmatch(value):
        raise Unsendable(501, "5.5.4", f"{what} holds characters that cannot be sent on")
    return value


def xtext(value: str) -> str:
    """Return `value` as xtext (RFC 3461 §4); what is not ASCII goes as UTF-8 octets."""
    return _XTEXT.sub(
        lambda match: "".join(f"+{byte:02X}" for byte in match[0].encode("utf-8", "replace")), value
    )


def path(address: str, extensions: Collection[str], status: str) -> str:
    """Return `<address>`; Unsendable if it is no address or needs SMTPUTF8 where that is not offered."""
    if _PLAIN.fullmatch(address) or not address:
        return f"<{address}>"
    if len(address) > ADDRESS_CHARACTERS or not _ADDRESS.fullmatch(address):
        raise Unsendable(553, status, "The address cannot be sent on as it stands")
    if not address.isascii():
        _need_utf8(extensions)
        try:
            address.encode()
        except UnicodeEncodeError as error:
            raise Unsendable(553, status, "The address is not valid UTF-8") from error
    return f"<{address}>"


def _need_utf8(extensions: Collection[str]) -> None:
    if "SMTPUTF8" not in extensions:
        raise Unsendable(
            550, "5.6.7", "The receiving server does not take internationalised addresses (SMTPUTF8)"
        )


def mail(sender: str, offered: Mapping[str, str], wanted: Mapping[str, object]) -> bytes:
    """Return MAIL with the parameters that the server offers; Unsendable where it lacks a needed one.

    `wanted`: size, eight_bit, smtputf8, ret, envid. RET and ENVID are left out where DSN is not
    offered: the caller sees that in the extensions and reports "relayed" itself (RFC 3461 §5.2.2).
    Clients say SMTPUTF8 and 8BITMIME of plain ASCII too; what the message needs shows in it (`unfit`).
    """
    parts = [path(sender, offered, "5.1.7")]
    size = wanted.get("size")
    if "SIZE" in offered and isinstance(size, int):
        limit = offered["SIZE"]
        if limit.isascii() and limit.isdigit() and 0 < int(limit[:18]) < size:
            raise Unsendable(552, "5.3.4", f"The receiving server takes at most {int(limit[:18])} octets")
        parts.append(f"SIZE={size}")
    if wanted.get("smtputf8") and "SMTPUTF8" in offered:
        parts.append("SMTPUTF8")
    if wanted.get("eight_bit") and "8BITMIME" in offered:
        parts.append("BODY=8BITMIME")
    if "DSN" in offered:
        parts += [
            f"{name.upper()}={safe(str(wanted[name]), name)}" for name in ("ret", "envid") if wanted.get(name)
        ]
    return f"MAIL FROM:{' '.join(parts)}\r\n".encode()


def rcpt(recipient: str, offered: Mapping[str, str], notify: Sequence[str], orcpt: str | None) -> bytes:
    """Return RCPT, with NOTIFY and ORCPT where DSN is offered; Unsendable for what is no address."""
    where = path(recipient, offered, "5.1.3")
    if "DSN" not in offered or not (notify or orcpt):
        return f"RCPT TO:{where}\r\n".encode()
    parts = [where]
    if notify:
        parts.append("NOTIFY=" + safe(",".join(notify), "NOTIFY"))
    if orcpt:
        parts.append("ORCPT=" + _orcpt(orcpt, offered))
    return f"RCPT TO:{' '.join(parts)}\r\n".encode()


def _orcpt(value: str, extensions: Collection[str]) -> str:
    """Return an original recipient in the form that the server can take (RFC 6533 §3); Unsendable."""
    coded = "".join(letter if letter.isascii() else f"\\x{{{ord(letter):X}}}" for letter in value)
    safe(coded, "ORCPT")
    return value if "SMTPUTF8" in extensions and _UNICODE.fullmatch(value) else coded


def unfit(pieces: Sequence[bytes], extensions: Collection[str], *, smtputf8: bool) -> UpstreamReply | None:
    """Return why a message cannot go to a server that does not offer what it needs, None if it can."""
    if all(piece.isascii() for piece in pieces):
        return None
    if "8BITMIME" not in extensions:
        return UpstreamReply(554, "5.6.3", "The receiving server takes 7-bit messages only (no 8BITMIME)")
    if smtputf8 and "SMTPUTF8" not in extensions and not _header(pieces).isascii():
        return UpstreamReply(
            554, "5.6.7", "The receiving server does not take internationalised headers (SMTPUTF8)"
        )
    return None


def _header(pieces: Sequence[bytes]) -> bytes:
    head = b""
    for piece in pieces:
        head += piece[:_HEADER_BYTES]
        if (end := head.find(b"\r\n\r\n")) >= 0:
            return head[:end]
    return head


def forward(verb: str, announced: str, values: Mapping[str, str]) -> bytes:
    """Return XCLIENT or XFORWARD with the attributes that the server announced, values as xtext."""
    names = announced.upper().split()
    pairs = [f"{name}={xtext(value[:80])}" for name, value in values.items() if name in names and value]
    return f"{verb} {' '.join(pairs)}\r\n".encode() if pairs else b""


def plain(login: str, password: str) -> bytes:
    """Return AUTH PLAIN with its initial response (RFC 4616); Unsendable for NUL in either."""
    if "\0" in login or "\0" in password:
        raise Unsendable(535, "5.7.8", "The login holds characters that cannot be sent on")
    return b"AUTH PLAIN " + encoded(f"\0{login}\0{password}") + b"\r\n"


def encoded(text: str) -> bytes:
    """Return base64 of the UTF-8 text; what came as undecodable bytes goes out as those bytes."""
    return base64.b64encode(text.encode("utf-8", "surrogateescape"))


def body(pieces: Sequence[bytes], *, undotted: bool = False) -> list[bytes]:
    """Return the message dot-stuffed and ended by the dot; Unsendable for a bare CR, bare LF or NUL.

    Linear; pieces are copied only where a dot must be doubled (RFC 5321 §4.5.2). `undotted`: all pieces but
    the first are lines that our own reader of bytes took: whole, ended by CRLF, none with a dot in front.
    They are not read once more.
    """
    if undotted and len(pieces) > 1 and pieces[0].endswith(b"\r\n") and pieces[-1].endswith(b"\r\n"):
        return [*body(pieces[:1])[:-1], *pieces[1:], b".\r\n"]
    out: list[bytes] = []
    last = b"\r\n"  # the two bytes before the piece: a leading dot of the first line counts
    lines = crs = feeds = 0
    for piece in pieces:
        if not piece:
            continue
        lines += piece.count(b"\r\n") + (last[-1:] == b"\r" and piece[:1] == b"\n")
        crs += piece.count(b"\r")
        feeds += piece.count(b"\n")
        if b"\0" in piece:
            raise _unclean()
        head = last + piece[:2]
        stuffed = piece.replace(b"\r\n.", b"\r\n..") if b"\r\n." in piece else piece
        if head[:3] == b"\r\n.":
            stuffed = b"." + stuffed
        elif head[1:4] == b"\r\n.":
            stuffed = b"\n." + stuffed[1:]
        out.append(stuffed)
        last = (last + piece[-2:])[-2:]
    if not lines == crs == feeds:
        raise _unclean()
    out.append(b".\r\n" if last == b"\r\n" else b"\r\n.\r\n")
    return out


def _unclean() -> Unsendable:
    return Unsendable(554, "5.6.0", "The message holds a bare CR, a bare LF or NUL")
