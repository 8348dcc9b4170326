"""What DKIM and ARC signatures have in common: tags, hashes, and the arithmetic."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim.util import InvalidTagValueList, parse_tag_value

from relay.signing.canonical import relaxed_body, relaxed_field, simple_body
from relay.signing.dkim import PADDING, PREHASHED
from relay.signing.public import KeyRecord, PublicKey

_LONGEST_SIGNATURE = 8192
_FORMS = frozenset((b"relaxed", b"simple"))


class NotSigned(Exception):
    """Why a field is no good signature, in words."""


def read(value: bytes) -> dict[bytes, bytes]:
    """Return a signature's tags, blanks collapsed first: dkimpy's patterns choke on long ones. NotSigned."""
    if len(value) > _LONGEST_SIGNATURE:
        raise NotSigned("too long")
    try:
        tags: dict[bytes, bytes] = parse_tag_value(relaxed_field(b"", value)[1:])
    except InvalidTagValueList as error:
        raise NotSigned(f"no list of tags: {error}") from error
    return tags


def decoded(value: bytes) -> bytes:
    """Return base 64 with blanks in it as bytes; NotSigned if it is none."""
    try:
        return base64.b64decode(b"".join(value.split()), validate=True)
    except binascii.Error as error:
        raise NotSigned("not base 64") from error


class Text:
    """A message's body, hashed once in each form that a signature asks for."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._hashes: dict[tuple[bytes, int], bytes] = {}

    def check(self, tags: Mapping[bytes, bytes]) -> bool:
        """Return whether the header form is relaxed, if the body is what bh= says; else NotSigned."""
        header_form, _, body_form = tags.get(b"c", b"simple/simple").partition(b"/")
        body_form = body_form or b"simple"
        if header_form not in _FORMS or body_form not in _FORMS:
            raise NotSigned("an unknown canonical form")
        length = tags.get(b"l", b"")
        if length and not (length.isdigit() and len(length) < 16):
            raise NotSigned("l= is no number")
        if self.hashed(body_form, int(length) if length else -1) != decoded(tags[b"bh"]):
            raise NotSigned("the body was changed")
        return header_form == b"relaxed"

    def hashed(self, form: bytes, length: int = -1) -> bytes:
        """Return the SHA-256 of a canonical form, of its first `length` bytes only if that is given."""
        key = (form, length)
        if key not in self._hashes:
            text = relaxed_body(self._body) if form == b"relaxed" else simple_body(self._body)
            if length > len(text):
                raise NotSigned("the body is shorter than what was signed")
            self._hashes[key] = sha256(text if length < 0 else text[:length]).digest()
        return self._hashes[key]


def fits(record: KeyRecord, tags: Mapping[bytes, bytes]) -> bool:
    """Return whether a key is meant for this signature: its algorithm, and t=s for i= (RFC 6376 §3.6.1)."""
    if isinstance(record.key, rsa.RSAPublicKey) != tags[b"a"].startswith(b"rsa-"):
        return False
    identity = tags.get(b"i", b"@" + tags[b"d"]).rpartition(b"@")[2].lower()
    return not record.strict or identity == tags[b"d"].lower()


def passes(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Return whether a signature over a SHA-256 is this key's."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, PADDING, PREHASHED)
        else:
            key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True


def hashed_header(
    field: tuple[bytes, bytes],
    named: Mapping[bytes, list[tuple[bytes, bytes]]],
    covers: list[bytes],
    *,
    relaxed: bool,
) -> bytes:
    """Return what a signature was made over: listed fields from the bottom up, then itself without b=."""
    left = {name: len(named.get(name, ())) for name in covers}
    parts: list[bytes] = []
    for name in covers:
        if left[name]:
            left[name] -= 1
            written, value = named[name][left[name]]
            parts.append(relaxed_field(name, value) if relaxed else written + b":" + value)
            parts.append(b"\r\n")
    bare = without_signature(field[1])
    parts.append(relaxed_field(field[0], bare) if relaxed else field[0] + b":" + bare)
    return b"".join(parts)


def without_signature(value: bytes) -> bytes:
    """Empty the b= tag, blanks around its value included (RFC 6376 §3.5)."""
    tags = value.split(b";")
    for place, tag in enumerate(tags):
        name, equals, _ = tag.partition(b"=")
        if equals and name.strip() == b"b":
            tags[place] = name + equals
    return b";".join(tags)
