"""Checks DKIM signatures (RFC 6376, RFC 8463, RFC 8301) in linear time, keys handed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

import dkim
from dkim.util import InvalidTagValueList

from relay.clock import EPOCH
from relay.signing.dkim import MOST_FIELDS, Fields
from relay.signing.public import KeyRecord, PublicKey
from relay.signing.tags import NotSigned, Text, decoded, fits, hashed_header, passes, read

if TYPE_CHECKING:
    from datetime import datetime

_MOST_SIGNATURES = 8
_CLOCK_SKEW = timedelta(minutes=10)


class State(StrEnum):
    """What became of one signature (RFC 8601 §2.7.1)."""

    PASS = "pass"  # noqa: S105 - a result
    FAIL = "fail"
    #: cannot be checked now: DNS gave no answer
    TEMPERROR = "temperror"
    #: cannot be checked ever: unreadable, no usable key
    PERMERROR = "permerror"


class KeyUnknown(Exception):
    """DNS gave no answer about a key just now."""


#: Hands in what DNS says of (selector, domain); raises KeyUnknown where it says nothing.
Keys = Callable[[str, str], Iterable[KeyRecord]]


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature that passes: who signed, and which header fields (lower case) it covers."""

    domain: str
    selector: str
    covers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Checked:
    """One signature and what became of it; `partial` says that l= leaves the body's end unsigned."""

    state: State
    domain: str = ""
    selector: str = ""
    why: str = ""
    covers: frozenset[str] = frozenset()
    partial: bool = False


def verify(raw: bytes, keys: Callable[[str, str], Iterable[PublicKey]], now: datetime) -> list[Signed]:
    """Return the signatures of a message that pass; `keys(selector, domain)` hands in what DNS or a pin says.

    Signatures with l= never pass: what follows the signed part could be anybody's. Time is linear in
    the message, and at most eight signatures are looked at.
    """
    found = examine(raw, lambda selector, domain: map(KeyRecord, keys(selector, domain)), now)
    return [
        Signed(one.domain, one.selector, one.covers)
        for one in found
        if one.state is State.PASS and not one.partial
    ]


def examine(raw: bytes, keys: Keys, now: datetime) -> list[Checked]:
    """Return what became of each signature, in order; none for a message without exactly one From."""
    raw = re.sub(rb"\r?\n", b"\r\n", raw) if b"\n" in raw.replace(b"\r\n", b"") else raw
    head, _, body = raw.partition(b"\r\n\r\n")
    named = Fields.of(head).named
    if len(named.get(b"from", ())) != 1:
        return []
    text = Text(body)
    fields = named.get(b"dkim-signature", ())[:_MOST_SIGNATURES]
    return [_examine_one(field, named, text, keys, now) for field in fields]


def wanted_keys(raw: bytes) -> list[tuple[str, str]]:
    """Return the (selector, domain) pairs that the signatures of a message name, to look up beforehand."""
    head = raw[: 256 * 1024].replace(b"\r\n", b"\n").partition(b"\n\n")[0].replace(b"\n", b"\r\n")
    fields = Fields.of(head).named.get(b"dkim-signature", ())
    wanted = []
    for _, value in fields[:_MOST_SIGNATURES]:
        try:
            tags = _tags(value)
        except NotSigned:
            continue
        wanted.append((_word(tags[b"s"]), _word(tags[b"d"])))
    return wanted


def _word(value: bytes) -> str:
    return value.decode("ascii", "replace").lower()


def _tags(value: bytes) -> Mapping[bytes, bytes]:
    """Return a signature's tags, validated by dkimpy; NotSigned says why they are none."""
    tags = read(value)
    try:
        dkim.validate_signature_fields(
            {name: text for name, text in tags.items() if name not in (b"t", b"x")}
        )
    except (InvalidTagValueList, dkim.DKIMException) as error:
        raise NotSigned(str(error)) from error
    if tags[b"a"] not in (b"rsa-sha256", b"ed25519-sha256"):
        raise NotSigned("an algorithm that nobody should use")
    return tags


def _examine_one(
    field: tuple[bytes, bytes],
    named: Mapping[bytes, list[tuple[bytes, bytes]]],
    text: Text,
    keys: Keys,
    now: datetime,
) -> Checked:
    try:
        tags = _tags(field[1])
    except NotSigned as error:
        return Checked(State.PERMERROR, why=str(error))
    selector, domain = _word(tags[b"s"]), _word(tags[b"d"])
    covers = [name.strip().lower() for name in tags[b"h"].split(b":")][:MOST_FIELDS]
    partial = b"l" in tags

    def checked(state: State, why: str = "") -> Checked:
        return Checked(state, domain, selector, why, frozenset(map(_word, covers)), partial)

    if b"from" not in covers:
        return checked(State.PERMERROR, "From is not signed")
    if not _in_time(tags, now):
        return checked(State.FAIL, "expired, or made in the future")
    try:
        signature, relaxed = decoded(tags[b"b"]), text.check(tags)
    except NotSigned as error:
        return checked(State.FAIL, str(error))
    try:
        records = [record for record in keys(selector, domain) if fits(record, tags)]
    except KeyUnknown as error:
        return checked(State.TEMPERROR, str(error))
    if not records:
        return checked(State.PERMERROR, "no usable key in DNS")
    digest = sha256(hashed_header(field, named, covers, relaxed=relaxed)).digest()
    if any(passes(record.key, signature, digest) for record in records):
        return checked(State.PASS)
    return checked(State.FAIL, "the signature does not match")


def _in_time(tags: Mapping[bytes, bytes], now: datetime) -> bool:
    seconds = (now - EPOCH) // timedelta(seconds=1)
    made, expires = tags.get(b"t", b"0"), tags.get(b"x", b"9" * 15)
    if not (made.isdigit() and expires.isdigit() and len(made) < 16 and len(expires) < 16):
        return False
    skew = _CLOCK_SKEW // timedelta(seconds=1)
    return int(made) <= seconds + skew and int(expires) >= seconds - skew and int(expires) >= int(made)
