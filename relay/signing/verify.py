"""Checks DKIM signatures of reports (RFC 6376, RFC 8463, RFC 8301) in linear time, keys handed in."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim.util import InvalidTagValueList, parse_tag_value

from relay.clock import EPOCH
from relay.signing.canonical import relaxed_body, relaxed_field, simple_body
from relay.signing.dkim import MOST_FIELDS, PADDING, PREHASHED, Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from relay.signing.public import PublicKey

_MOST_SIGNATURES = 8
_LONGEST_SIGNATURE = 8192
_CLOCK_SKEW = timedelta(minutes=10)
_FORMS = frozenset((b"relaxed", b"simple"))


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature that passes: who signed, and which header fields (lower case) it covers."""

    domain: str
    selector: str
    covers: frozenset[str]


def verify(raw: bytes, keys: Callable[[str, str], Iterable[PublicKey]], now: datetime) -> list[Signed]:
    """Return the signatures of a message that pass; `keys(selector, domain)` hands in what DNS or a pin says.

    Signatures with l= never pass: what follows the signed part could be anybody's. Time is linear in
    the message, and at most eight signatures are looked at.
    """
    raw = re.sub(rb"\r?\n", b"\r\n", raw) if b"\n" in raw.replace(b"\r\n", b"") else raw
    head, _, body = raw.partition(b"\r\n\r\n")
    named = Fields.of(head).named
    if len(named.get(b"from", ())) != 1:
        return []
    message = _Message(named, body, {})
    fields = named.get(b"dkim-signature", ())[:_MOST_SIGNATURES]
    found = (_verify_one(field, message, keys, now) for field in fields)
    return [signed for signed in found if signed]


@dataclass(frozen=True, slots=True)
class _Message:
    named: Mapping[bytes, list[tuple[bytes, bytes]]]
    body: bytes
    hashes: dict[bytes, bytes]

    def body_hash(self, form: bytes) -> bytes:
        """Return the hash of the body in one form, computed once."""
        if form not in self.hashes:
            text = relaxed_body(self.body) if form == b"relaxed" else simple_body(self.body)
            self.hashes[form] = sha256(text).digest()
        return self.hashes[form]


def wanted_keys(raw: bytes) -> list[tuple[str, str]]:
    """Return the (selector, domain) pairs that the signatures of a message name, to look up beforehand."""
    head = raw[: 256 * 1024].replace(b"\r\n", b"\n").partition(b"\n\n")[0].replace(b"\n", b"\r\n")
    fields = Fields.of(head).named.get(b"dkim-signature", ())
    tags = [_tags(value) for _, value in fields[:_MOST_SIGNATURES]]
    return [(_text(found[b"s"]), _text(found[b"d"])) for found in tags if found]


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").lower()


def _tags(value: bytes) -> dict[bytes, bytes] | None:
    """Parse and validate a signature's tags with dkimpy, collapsed: its patterns choke on long blanks."""
    if len(value) > _LONGEST_SIGNATURE:
        return None
    try:
        tags: dict[bytes, bytes] = parse_tag_value(relaxed_field(b"", value)[1:])
        dkim.validate_signature_fields(
            {name: text for name, text in tags.items() if name not in (b"t", b"x")}
        )
    except (InvalidTagValueList, dkim.DKIMException):
        return None
    return tags if tags[b"a"] in (b"rsa-sha256", b"ed25519-sha256") and b"l" not in tags else None


def _verify_one(
    field: tuple[bytes, bytes],
    message: _Message,
    keys: Callable[[str, str], Iterable[PublicKey]],
    now: datetime,
) -> Signed | None:
    tags = _tags(field[1])
    if tags is None or not _in_time(tags, now):
        return None
    header_form, _, body_form = tags.get(b"c", b"simple/simple").partition(b"/")
    covers = [name.strip().lower() for name in tags[b"h"].split(b":")][:MOST_FIELDS]
    if b"from" not in covers or header_form not in _FORMS or (body_form or b"simple") not in _FORMS:
        return None
    try:
        claimed = base64.b64decode(b"".join(tags[b"bh"].split()))
        signature = base64.b64decode(b"".join(tags[b"b"].split()))
    except binascii.Error:
        return None
    if message.body_hash(body_form or b"simple") != claimed:
        return None
    digest = sha256(_hashed_header(field, message.named, covers, relaxed=header_form == b"relaxed")).digest()
    selector, domain = _text(tags[b"s"]), _text(tags[b"d"])
    wants_rsa = tags[b"a"] == b"rsa-sha256"
    for key in keys(selector, domain):
        if isinstance(key, rsa.RSAPublicKey) == wants_rsa and _passes(key, signature, digest):
            return Signed(domain, selector, frozenset(_text(name) for name in covers))
    return None


def _in_time(tags: Mapping[bytes, bytes], now: datetime) -> bool:
    seconds = (now - EPOCH) // timedelta(seconds=1)
    made, expires = tags.get(b"t", b"0"), tags.get(b"x", b"9" * 15)
    if not (made.isdigit() and expires.isdigit() and len(made) < 16 and len(expires) < 16):
        return False
    skew = _CLOCK_SKEW // timedelta(seconds=1)
    return int(made) <= seconds + skew and int(expires) >= seconds - skew and int(expires) >= int(made)


def _hashed_header(
    field: tuple[bytes, bytes],
    named: Mapping[bytes, list[tuple[bytes, bytes]]],
    covers: list[bytes],
    *,
    relaxed: bool,
) -> bytes:
    """Return what the signature was made over: listed fields from the bottom up, then itself without b=."""
    left = {name: len(named.get(name, ())) for name in covers}
    parts: list[bytes] = []
    for name in covers:
        if left[name]:
            left[name] -= 1
            written, value = named[name][left[name]]
            parts.append(relaxed_field(name, value) if relaxed else written + b":" + value)
            parts.append(b"\r\n")
    bare = _without_signature(field[1])
    parts.append(relaxed_field(b"dkim-signature", bare) if relaxed else field[0] + b":" + bare)
    return b"".join(parts)


def _without_signature(value: bytes) -> bytes:
    """Empty the b= tag, blanks around its value included (RFC 6376 §3.5)."""
    tags = value.split(b";")
    for place, tag in enumerate(tags):
        name, equals, _ = tag.partition(b"=")
        if equals and name.strip() == b"b":
            tags[place] = name + equals
    return b";".join(tags)


def _passes(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, PADDING, PREHASHED)
        else:
            key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True
