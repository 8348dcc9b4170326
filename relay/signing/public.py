"""Public keys as people paste them: DNS records, PEM files, bare base 64."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dkim.util import InvalidTagValueList, parse_tag_value

#: Senders still use 1024 bits; RFC 8301 §3.2 lets a verifier take them.
SMALLEST_RSA_BITS = 1024

PublicKey = rsa.RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A public key, and whether its record says t=s (`strict`): only the domain itself may sign."""

    key: PublicKey
    strict: bool = False


def record(key: PublicKey) -> str:
    """Return the text of the DNS record for a key (RFC 6376 §3.6.1, RFC 8463 §4)."""
    if isinstance(key, Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return "v=DKIM1; k=ed25519; p=" + base64.b64encode(raw).decode()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return (
        "v=DKIM1; k=rsa; p=" + base64.b64encode(key.public_bytes(serialization.Encoding.DER, form)).decode()
    )


def read(text: str | bytes) -> PublicKey | None:
    """Read a DNS record, a PEM public key or bare base 64; None if unusable, revoked or too small."""
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    try:
        key = _load_public(data.strip())
    except (ValueError, TypeError, KeyError, binascii.Error, InvalidTagValueList, UnsupportedAlgorithm):
        return None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SMALLEST_RSA_BITS:
        return None
    return key


def read_record(text: str) -> KeyRecord | None:
    """Read the text of a DNS record; None if it holds no usable key for mail signed with SHA-256."""
    key = read(text)
    try:
        tags = parse_tag_value(text.strip().encode("ascii", "replace"))
    except InvalidTagValueList:
        return None
    hashes, services, flags = (
        [word.strip() for word in tags.get(name, default).split(b":")]
        for name, default in ((b"h", b"sha256"), (b"s", b"*"), (b"t", b""))
    )
    if key is None or b"sha256" not in hashes or not {b"*", b"email"} & set(services):
        return None
    return KeyRecord(key, strict=b"s" in flags)


def _load_public(data: bytes) -> PublicKey | None:
    if data.startswith(b"-----BEGIN"):
        key = serialization.load_pem_public_key(data)
        return key if isinstance(key, rsa.RSAPublicKey | Ed25519PublicKey) else None
    tags = parse_tag_value(data) if b"=" in data.rstrip(b"= \r\n") else {b"p": data}
    if tags.get(b"v", b"DKIM1") != b"DKIM1":
        return None
    packed = base64.b64decode(b"".join(tags[b"p"].split()), validate=True)
    if tags.get(b"k", b"rsa") == b"ed25519":
        return Ed25519PublicKey.from_public_bytes(packed)
    key = serialization.load_der_public_key(packed)
    return key if isinstance(key, rsa.RSAPublicKey) else None
