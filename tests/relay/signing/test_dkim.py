"""Our signatures pass dkimpy, fail after any change that matters; our checks take what dkimpy signs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.clock import now as clock_now
from relay.errors import ConfigError
from relay.signing import public
from relay.signing.dkim import Signer, dns_record, new_key, public_key
from relay.signing.public import PublicKey
from relay.signing.verify import verify, wanted_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = new_key()
SIGNER = Signer("Sender.Example", "gp", KEY)
EDWARDS = Signer("sender.example", "ed", new_key("ed25519"))
NOW = clock_now()
HEAD = (
    b"From: Ann <ann@sender.example>\r\nTo: bob@there.example\r\nSubject: A  long\r\n\tsubject \r\n"
    b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\nX-Other: 1\r\n"
)
BODY = b"Hello  there \r\n.\r\n\r\ntext\t\r\n\r\n\r\n"


def signed(head: bytes = HEAD, body: bytes = BODY, signer: Signer = SIGNER, at: datetime = NOW) -> bytes:
    return signer.sign(head, body, at) + head + b"\r\n" + body


def dkimpy_passes(message: bytes, signer: Signer = SIGNER) -> bool:
    record = signer.dns_record()[1].encode()

    def answer(_name: bytes, timeout: int = 5) -> bytes:  # noqa: ARG001 - dkimpy names it
        return record

    return bool(dkim.verify(message, dnsfunc=answer))


def keys_of(*signers: Signer) -> dict[tuple[str, str], PublicKey]:
    found = {}
    for signer in signers:
        key = public.read(signer.dns_record()[1])
        assert key is not None
        found[signer.selector, signer.domain] = key
    return found


def ours(message: bytes, *signers: Signer, at: datetime = NOW) -> list[str]:
    keys = keys_of(*(signers or (SIGNER, EDWARDS)))

    def answer(selector: str, domain: str) -> Iterable[PublicKey]:
        return [keys[selector, domain]] if (selector, domain) in keys else []

    return [found.domain for found in verify(message, answer, at)]


def test_dkimpy_and_we_take_our_rsa_signature() -> None:
    assert dkimpy_passes(signed())
    assert ours(signed()) == ["sender.example"]


def test_we_take_our_ed25519_signature() -> None:
    assert ours(signed(signer=EDWARDS)) == ["sender.example"]


# CASES FR-59: dots, blanks, folds, eight bits, empty bodies
text = st.text(alphabet="ab. \t:\r\n\xe9<>@", max_size=120)


@given(text, text)
@settings(max_examples=150, deadline=None)
def test_fr_59_any_message_passes_dkimpy(subject: str, body: str) -> None:
    folded = "\r\n ".join(" ".join(subject.split("\r")).split("\n"))
    head = HEAD + b"Comments: " + folded.encode() + b"x\r\n"
    lines = body.replace("\r", "").split("\n")
    assert dkimpy_passes(signed(head, "\r\n".join([*lines, ""]).encode()))


@pytest.mark.parametrize(
    "change",
    [
        lambda message: b"From: evil@x.example\r\n" + message,
        lambda message: b"Subject: Other\r\n" + message,
        lambda message: b"Content-Type: text/html\r\n" + message,
        lambda message: b"Cc: everybody@x.example\r\n" + message,
        lambda message: b"Reply-To: evil@x.example\r\n" + message,
        lambda message: b"CFBL-Feedback-ID: other\r\n" + message,
        lambda message: message.replace(b"Ann", b"Eve"),
        lambda message: message.replace(b"there", b"thane"),
        lambda message: message + b"more\r\n",
        lambda message: message.replace(b"d=sender.example", b"d=other.example"),
        lambda message: message.replace(b"x=", b"x=9"),
    ],
    ids=[
        "From",
        "Subject",
        "Content-Type",
        "Cc",
        "Reply-To",
        "token",
        "name",
        "text",
        "appended",
        "d=",
        "x=",
    ],
)
@pytest.mark.parametrize("signer", [SIGNER, EDWARDS], ids=["rsa", "ed25519"])
def test_pd_28_a_change_after_signing_is_noticed(change: object, signer: Signer) -> None:
    assert callable(change)
    changed = change(signed(signer=signer))
    assert ours(changed) == []
    if signer is SIGNER:
        assert not dkimpy_passes(changed)


def test_pd_28_says_when_it_was_made_and_ends_and_never_signs_part_of_a_body() -> None:
    field = SIGNER.sign(HEAD, BODY, NOW).replace(b"\r\n", b"")
    made = int(NOW.timestamp())
    assert b"t=%d; x=%d;" % (made, made + 14 * 86400) in field
    assert b" l=" not in field
    assert b"h=from:from:to:to:cc:subject:subject:" in field.replace(b" ", b"")


def test_unsigned_fields_may_change_on_the_way() -> None:
    assert ours(b"Received: by x\r\n" + signed().replace(b"X-Other: 1", b"X-Other: 2")) == ["sender.example"]


@pytest.mark.parametrize(
    ("later", "passes"),
    [
        (timedelta(days=13), True),
        (timedelta(days=15), False),
        (timedelta(minutes=-5), True),
        (timedelta(hours=-1), False),
    ],
)
def test_a_signature_counts_in_its_time_alone(later: timedelta, *, passes: bool) -> None:
    assert bool(ours(signed(), at=NOW + later)) is passes


@pytest.mark.parametrize("form", [b"relaxed/relaxed", b"relaxed/simple", b"simple/simple", b"simple/relaxed"])
def test_we_take_what_dkimpy_signs(form: bytes) -> None:
    pem = serialization.load_pem_private_key(KEY, None)
    assert isinstance(pem, rsa.RSAPrivateKey)
    old = pem.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    head, body = form.split(b"/")
    message = HEAD + b"\r\n" + BODY
    field = dkim.sign(message, b"gp", b"sender.example", old, canonicalize=(head, body))
    now = clock_now()  # dkimpy reads the clock itself
    assert ours(field + message, at=now) == ["sender.example"]
    assert ours(field + message.replace(b"Hello", b"Hallo"), at=now) == []
    with_length = dkim.sign(message, b"gp", b"sender.example", old, canonicalize=(head, body), length=True)
    assert ours(with_length + message, at=now) == [], "what follows the signed part could be anybody's"


def test_two_from_fields_are_nobodys() -> None:
    head = b"From: other@sender.example\r\n" + HEAD
    assert ours(signed(head)) == []


def test_bare_line_feeds_of_a_saved_report_do_not_hurt() -> None:
    assert ours(signed().replace(b"\r\n", b"\n")) == ["sender.example"]


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        rsa.generate_private_key(65537, 1024).private_bytes(  # noqa: S505 - the point
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    ],
    ids=["nothing", "junk", "1024 bits", "another algorithm"],
)
def test_pd_28_keys_that_are_too_small_or_none_are_refused_at_load(pem: bytes) -> None:
    with pytest.raises(ConfigError, match="2048 bits"):
        Signer("sender.example", "gp", pem)


def test_public_keys_are_read_in_every_form_that_people_paste() -> None:
    name, record = SIGNER.dns_record()
    assert name == "gp._domainkey.sender.example"
    private = serialization.load_pem_private_key(KEY, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wanted = private.public_key().public_numbers()
    bare = record.partition("p=")[2]
    assert public_key(pem) == record == dns_record(KEY)
    for form in (record, record.encode(), pem, pem.decode(), bare, f"p={bare}", record.replace("p=", "p= ")):
        key = public.read(form)
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.public_numbers() == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=DKIM1; p=",
        "v=DKIM2; p=AAAA",
        "p=!!",
        "\xff",
        "v=DKIM1; k=ed25519; p=AAAA",
        "k=rsa",
        "-----BEGIN X",
    ],
)
def test_unusable_public_keys_are_none(text: str) -> None:
    assert public.read(text) is None
    with pytest.raises(ConfigError, match="DKIM public key"):
        public_key(text.encode("latin-1"))


def test_names_the_keys_that_it_will_ask_for() -> None:
    assert wanted_keys(EDWARDS.sign(HEAD, BODY, NOW) + signed()) == [
        ("ed", "sender.example"),
        ("gp", "sender.example"),
    ]
    assert wanted_keys(b"no header at all") == []


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_never_raises_on_junk(junk: bytes) -> None:
    assert ours(junk) == []
    assert ours(b"From: a@b\r\nDKIM-Signature: v=1; a=rsa-sha256; " + junk) == []


@pytest.mark.parametrize(
    "field",
    [
        b"v=1; b" + b"\r\n " * 2500 + b";",
        b"v=1; a=rsa-sha256; h=" + b" " * 8000 + b"x; b=AAAA; bh=AAAA; d=a.example; s=b",
        b"v=1; a=rsa-sha256; b=" + b"A " * 4000 + b"!; h=from; bh=AAAA; d=a.example; s=b",
        b";" * 8000,
        b"v=1; a=rsa-sha256; h=" + b"from:" * 1600 + b"; b=AAAA; bh=AAAA; d=a.example; s=b",
    ],
    ids=["blank after b", "blank in h", "blanks in b", "semicolons", "many names"],
)
def test_hostile_signatures_cost_little(field: bytes) -> None:
    head = b"From: a@b.example\r\n" + (b"DKIM-Signature: " + field + b"\r\n") * 100
    start = time.process_time()
    assert ours(head + b"\r\nbody\r\n") == []
    wanted_keys(head + b"\r\nbody\r\n")
    assert time.process_time() - start < 0.5


def test_many_signatures_over_a_large_body_hash_it_once() -> None:
    message = SIGNER.sign(HEAD, BODY, NOW) * 200 + HEAD + b"\r\n" + b"x  y\r\n" * 1_000_000
    start = time.process_time()
    assert ours(message) == []
    assert time.process_time() - start < 1.0


def test_now_is_handed_in() -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    assert ours(signed(at=old), at=old + timedelta(days=1)) == ["sender.example"]
