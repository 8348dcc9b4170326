"""Checks and extends ARC chains (RFC 8617): what servers on the way saw before they changed a message."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from relay.clock import EPOCH
from relay.signing.canonical import relaxed_field
from relay.signing.dkim import MOST_FIELDS, Fields
from relay.signing.tags import NotSigned, Text, decoded, fits, hashed_header, passes, read, without_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from relay.signing.verify import Keys

MOST_SETS = 50
_AAR, _AMS, _SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_AAR_NAME, _AMS_NAME, _SEAL_NAME = b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal"
_START = b" a=rsa-sha256;\r\n b=;\r\n "
_INSTANCE = re.compile(rb"\s*i\s*=\s*(\d{1,4})\s*;")
_DOMAIN = re.compile(rb"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?\.[a-zA-Z0-9-]+")
_SELECTOR = re.compile(rb"[a-zA-Z0-9_]([a-zA-Z0-9._-]*[a-zA-Z0-9_])?")
_NAME = re.compile(rb"[a-zA-Z][a-zA-Z0-9_]*")


class Chain(StrEnum):
    """What a chain is worth."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ArcSet:
    """The three fields of one instance, as (name, value), and the tags of the two signatures."""

    results: tuple[bytes, bytes]
    message: tuple[bytes, bytes]
    seal: tuple[bytes, bytes]
    message_tags: Mapping[bytes, bytes]
    seal_tags: Mapping[bytes, bytes]


def validate(raw: bytes, keys: Keys) -> Chain:
    """Return what the message's chain is worth; KeyUnknown where `keys` raises it."""
    head, body = _split(raw)
    named = Fields.of(head).named
    try:
        sets = _sets(named)
    except NotSigned:
        return Chain.FAIL
    if not sets:
        return Chain.NONE
    try:
        _check_message(sets[-1], named, Text(body), keys)
        for number in range(len(sets), 0, -1):
            _check_seal(sets[:number], keys)
    except NotSigned:
        return Chain.FAIL
    return Chain.PASS


def wanted_keys(raw: bytes) -> list[tuple[str, str]]:
    """Return the (selector, domain) pairs that a chain names, to look up beforehand."""
    try:
        sets = _sets(Fields.of(_split(raw[: 256 * 1024])[0]).named)
    except NotSigned:
        return []
    tags = [sets[-1].message_tags, *(one.seal_tags for one in sets)] if sets else []
    return list(dict.fromkeys((_word(one[b"s"]), _word(one[b"d"])) for one in tags))


def _word(value: bytes) -> str:
    return value.decode("ascii", "replace").lower()


def _split(raw: bytes) -> tuple[bytes, bytes]:
    raw = re.sub(rb"\r?\n", b"\r\n", raw) if b"\n" in raw.replace(b"\r\n", b"") else raw
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def _sets(named: Mapping[bytes, Sequence[tuple[bytes, bytes]]]) -> list[ArcSet]:
    """Return the sets in order; NotSigned if one is incomplete, doubled, or not as it must be (§5.2)."""
    counts = {len(named.get(name, ())) for name in (_AAR, _AMS, _SEAL)}
    if counts == {0}:
        return []
    total = max(counts)
    if len(counts) != 1 or total > MOST_SETS:
        raise NotSigned("an incomplete chain, or a too long one")
    results = {_instance(field[1]): field for field in named[_AAR]}
    messages = {_number(tags): (field, tags) for field in named[_AMS] for tags in [_message_tags(field[1])]}
    seals = {_number(tags): (field, tags) for field in named[_SEAL] for tags in [_seal_tags(field[1])]}
    wanted = set(range(1, total + 1))
    if any(set(found) != wanted for found in (results, messages, seals)):
        raise NotSigned("an instance is missing or doubled")
    return [
        ArcSet(results[n], messages[n][0], seals[n][0], messages[n][1], seals[n][1])
        for n in range(1, total + 1)
    ]


def _instance(value: bytes) -> int:
    found = _INSTANCE.match(value.replace(b"\r\n", b""))
    if found is None:
        raise NotSigned("ARC-Authentication-Results does not begin with its instance")
    return int(found[1])


def _number(tags: Mapping[bytes, bytes]) -> int:
    value = tags.get(b"i", b"")
    if not value.isdigit() or len(value) > 4:
        raise NotSigned("no instance")
    return int(value)


def _common(value: bytes, required: Sequence[bytes]) -> dict[bytes, bytes]:
    tags = read(value)
    if any(not tags.get(name, b"") for name in required) or not all(map(_NAME.fullmatch, tags)):
        raise NotSigned("a tag is missing or wrong")
    if tags[b"a"] != b"rsa-sha256":
        raise NotSigned("an unknown algorithm")
    if not _DOMAIN.fullmatch(tags[b"d"]) or not _SELECTOR.fullmatch(tags[b"s"]):
        raise NotSigned("d= or s= is no name")
    if not tags.get(b"t", b"0").isdigit():
        raise NotSigned("t= is no time")
    return tags


def _message_tags(value: bytes) -> Mapping[bytes, bytes]:
    tags = _common(value, (b"i", b"a", b"b", b"bh", b"d", b"s"))
    if b"h" not in tags:
        raise NotSigned("h= is missing")
    return tags


def _seal_tags(value: bytes) -> Mapping[bytes, bytes]:
    tags = _common(value, (b"i", b"a", b"b", b"cv", b"d", b"s"))
    if b"h" in tags or tags[b"cv"] != (b"none" if tags[b"i"] == b"1" else b"pass"):
        raise NotSigned("the seal covers what it must not, or says the wrong thing of what was before")
    return tags


def _check_message(
    newest: ArcSet, named: Mapping[bytes, list[tuple[bytes, bytes]]], text: Text, keys: Keys
) -> None:
    tags = newest.message_tags
    covers = [name.strip().lower() for name in tags[b"h"].split(b":") if name.strip()][:MOST_FIELDS]
    if _SEAL in covers:
        raise NotSigned("ARC-Seal must not be covered")
    relaxed = text.check({b"c": b"relaxed/relaxed", **tags})
    _check(hashed_header(newest.message, named, covers, relaxed=relaxed), tags, keys)


def _check_seal(sets: Sequence[ArcSet], keys: Keys) -> None:
    _check(_sealed(sets), sets[-1].seal_tags, keys)


def _sealed(sets: Sequence[ArcSet]) -> bytes:
    """Return what the newest seal covers: all sets, relaxed, itself last and without b= (§5.1.1)."""
    parts = [field for one in sets for field in (one.results, one.message, one.seal)]
    lines = [relaxed_field(name, value) for name, value in parts[:-1]]
    name, value = parts[-1]
    return b"\r\n".join([*lines, relaxed_field(name, without_signature(value))])


def _check(text: bytes, tags: Mapping[bytes, bytes], keys: Keys) -> None:
    records = [record for record in keys(_word(tags[b"s"]), _word(tags[b"d"])) if fits(record, tags)]
    signature, digest = decoded(tags[b"b"]), sha256(text).digest()
    if not any(passes(record.key, signature, digest) for record in records):
        raise NotSigned("no key in DNS made this signature")


class RsaSigner(Protocol):
    """Signs SHA-256 sums for a domain (relay.signing.dkim.Signer with an RSA key)."""

    domain: str
    selector: str

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the PKCS#1 signature."""
        ...


@dataclass(frozen=True, slots=True)
class Sealer:
    """Adds a set to a message that is handed on, for one domain (RSA, as RFC 8617 has nothing else)."""

    signer: RsaSigner
    #: authserv-id, in whose name results are reported
    hostname: str

    def seal(
        self, raw: bytes, results: str, chain: Chain, covers: Sequence[bytes], now: datetime
    ) -> list[bytes]:
        """Return the new ARC-Seal, ARC-Message-Signature and ARC-Authentication-Results, without CRLF.

        `results` is what was found (RFC 8601 resinfo), `covers` the fields to sign, lower case. Nothing is
        added to a chain that cannot be read, ended before with cv=fail, or is full.
        """
        head, body = _split(raw)
        named = Fields.of(head).named
        try:
            sets = _sets(named)
        except NotSigned:
            return []
        if len(sets) >= MOST_SETS:
            return []
        number, seconds = len(sets) + 1, (now - EPOCH) // timedelta(seconds=1)
        domain, selector = self.signer.domain.encode("ascii"), self.signer.selector.encode("ascii")
        end = b"i=%d; s=%b; t=%d" % (number, selector, seconds)
        found = f" i={number}; {self.hostname}; {results}".encode()
        listed = [name for name in covers if name in named]
        tags = b"bh=%b; c=relaxed/relaxed; d=%b; h=%b; %b" % (
            base64.b64encode(Text(body).hashed(b"relaxed")), domain, b":".join(covers), end,
        )  # fmt: skip
        message = (_AMS_NAME, _START + tags)
        covered = hashed_header(message, named, [name for name in listed for _ in named[name]], relaxed=True)
        message = (_AMS_NAME, self._signed(tags, covered))
        worth = b"none" if chain is Chain.NONE else str(chain).encode()
        tags = b"cv=%b; d=%b; %b" % (worth, domain, end)
        fresh = ArcSet((_AAR_NAME, found), message, (_SEAL_NAME, _START + tags), {}, {})
        # a chain that is broken cannot be covered any more (§5.1.2)
        covered = _sealed([fresh] if chain is Chain.FAIL else [*sets, fresh])
        seal = (_SEAL_NAME, self._signed(tags, covered))
        return [name + b":" + value for name, value in (seal, message, fresh.results)]

    def _signed(self, tags: bytes, covered: bytes) -> bytes:
        made = base64.b64encode(self.signer.sign_digest(sha256(covered).digest()))
        return b" a=rsa-sha256;\r\n b=%b;\r\n %b" % (made, tags)
