"""A stamped message is our lines, then the original bytes but for fields that only we may write."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import dkim
import pytest

from relay.clock import now as clock_now
from relay.keyring import Key, Keyring
from relay.model import Account, AccountClass, Customer, Server, Standing, State
from relay.signing import token
from relay.signing.dkim import Signer, new_key
from relay.signing.stamp import Stamper, Unsubscribe
from screening.mail import Envelope, Mail
from screening.verdict import Hit, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = clock_now()
RING = Keyring([Key(1, b"k" * 32)])
PROVIDER = Signer("relay.example", "gp", new_key())
CUSTOMER = Signer("acme.example", "gp", new_key())
_STANDING = Standing(State.ACTIVE, NOW)
_CUSTOMER = Customer(3, "acme", _STANDING)
ACCOUNT = Account(7, "ann@acme.example", _CUSTOMER, Server(1, 3, "acme", ("h:25",), _STANDING), _STANDING)
HEAD = b"From: Ann <ann@acme.example>\r\nTo: bob@there.example\r\nSubject: Hello\r\n"
BODY = b"\r\nHello  Bob \r\n"


def stamper(owner: int = 3) -> Stamper:
    def signer(customer_id: int, domain: str) -> Signer | None:
        return CUSTOMER if (customer_id, domain) == (owner, "acme.example") else None

    return Stamper("relay.example", RING, "fbl@relay.example", "gatepost", PROVIDER, signer)


def mail(raw: bytes, recipients: Sequence[str] = ("bob@there.example",)) -> Mail:
    envelope = Envelope(
        "3b0c04j0t3m842c9", "192.0.2.7", "laptop.home", "TLSv1.3", "ann@acme.example", "ann@acme.example",
        tuple(recipients), NOW,
    )  # fmt: skip
    return Mail(envelope, raw)


def stamped(raw: bytes, *, verdict: Verdict | None = None, tagged: bool = False, owner: int = 3) -> bytes:
    return b"".join(stamper(owner).stamp(mail(raw), ACCOUNT, NOW, verdict=verdict, tagged=tagged))


def header(message: bytes, name: bytes) -> list[bytes]:
    lines = message.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").split(b"\r\n")
    return [line.partition(b": ")[2] for line in lines if line.lower().startswith(name.lower() + b":")]


def passes(message: bytes, index: int) -> bool:
    records = {f"{s.dns_record()[0]}.".encode(): s.dns_record()[1].encode() for s in (PROVIDER, CUSTOMER)}

    def answer(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001 - dkimpy names it
        return records.get(name)

    return bool(dkim.DKIM(message).verify(index, dnsfunc=answer))


def test_the_original_follows_our_lines_untouched_in_one_piece() -> None:
    raw = HEAD + b"X-Odd:  as\r\n\t it is\r\n" + BODY
    pieces = stamper().stamp(mail(raw), ACCOUNT, NOW, verdict=None, tagged=False)
    assert len(pieces) == 2
    assert pieces[1] == raw


def test_provider_and_customer_sign_and_both_pass() -> None:
    message = stamped(HEAD + BODY)
    assert [b"d=relay.example" in field for field in header(message, b"DKIM-Signature")] == [True, False]
    assert passes(message, 0)
    assert passes(message, 1)
    for field in header(message, b"DKIM-Signature"):
        covered = field.replace(b" ", b"").partition(b";h=")[2].partition(b";")[0].split(b":")
        assert {b"cfbl-address", b"cfbl-feedback-id", b"feedback-id", b"from"} <= set(covered)


def test_pd_29_nobody_signs_with_another_customers_domain() -> None:
    assert len(header(stamped(HEAD + BODY, owner=4), b"DKIM-Signature")) == 1
    two = HEAD.replace(b"Ann <ann@acme.example>", b"ann@acme.example, eve@other.example")
    assert len(header(stamped(two + BODY), b"DKIM-Signature")) == 1


def test_the_token_says_whose_message_it_is() -> None:
    message = stamped(HEAD + BODY)
    opened = token.open(RING, header(message, b"CFBL-Feedback-ID")[0].decode())
    assert opened is not None
    assert (opened.account_id, opened.message_id, opened.recipients) == (7, "3b0c04j0t3m842c9", 1)
    assert opened.recipient_hash == RING.recipient_hash(3, "bob@there.example")
    assert header(message, b"CFBL-Address") == [b"fbl@relay.example; report=arf"]


def test_a_token_for_many_names_none_of_them() -> None:
    pieces = stamper().stamp(
        mail(HEAD + BODY, ("a@x.example", "b@x.example")), ACCOUNT, NOW, verdict=None, tagged=False
    )
    opened = token.open(RING, header(pieces[0] + b"\r\n", b"CFBL-Feedback-ID")[0].decode())
    assert opened is not None
    assert (opened.recipients, opened.recipient_hash) == (2, None)


def test_feedback_id_is_coarse_and_stable() -> None:
    first, second = (header(stamped(HEAD + BODY), b"Feedback-ID") for _ in range(2))
    assert first == second
    assert first[0].split(b":")[1::2] == [b"app", b"gatepost"]
    assert b"acme" not in first[0]


def test_pr_10_the_trace_names_neither_client_nor_login() -> None:
    trace = header(stamped(HEAD + BODY), b"Received")[0]
    assert b"with ESMTPSA id 3b0c04j0t3m842c9" in trace
    for secret in (b"192.0.2.7", b"laptop", b"ann"):
        assert secret not in trace


@pytest.mark.parametrize(
    "field",
    [
        b"Bcc: boss@acme.example\r\n",
        b"bcc: boss@acme.example,\r\n other@acme.example\r\n",
        b"Resent-Bcc: boss@acme.example\r\n",
        b"CFBL-Address: evil@x.example\r\n",
        b"CFBL-Feedback-ID: stolen\r\n",
        b"Feedback-ID: 1:2:3:4\r\n",
        b"X-Spam-Status: No\r\n",
        b"X-Gatepost-Verdict: clean\r\n",
        b"Authentication-Results: relay.example; dkim=pass\r\n",
        b"Authentication-Results: (a comment) Relay.EXAMPLE 1;\r\n spf=pass\r\n",
        b"ARC-Authentication-Results: i=1; relay.example; dkim=pass\r\n",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_pd_30_and_31_fields_that_only_we_may_write_are_removed(field: bytes, place: int) -> None:
    lines = HEAD.splitlines(keepends=True)
    raw = b"".join([*lines[:place], field, *lines[place:]]) + BODY
    message = stamped(raw)
    assert message.endswith(HEAD + BODY)
    assert field not in message
    assert passes(message, 0)


@pytest.mark.parametrize(
    "field",
    [b"Authentication-Results: other.example; dkim=pass\r\n", b"Return-Path: <a@b>\r\n", b"X-Spam: 1\r\n"],
)
def test_other_fields_stay(field: bytes) -> None:
    assert stamped(field + HEAD + BODY).endswith(field + HEAD + BODY)


def test_a_tagged_message_says_so_in_safe_characters() -> None:
    verdict = Verdict((Hit("odd\r\nBcc: x", 4.5, "evidence"), Hit("plain", 1.0)))
    message = stamped(HEAD + BODY, verdict=verdict, tagged=True)
    assert header(message, b"X-Gatepost-Verdict") == [b"tag; score=5.50; rules=odd--Bcc--x,plain"]
    assert header(message, b"Bcc") == []
    assert header(stamped(HEAD + BODY, verdict=verdict), b"X-Gatepost-Verdict") == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"\r\nbody\r\n",
        b"body only\r\n",
        b" glued: to what is above\r\nFrom: a@b\r\n\r\nx\r\n",
        b"A: b\r\n",
        b"From x\r\n",
    ],
    ids=[
        "nothing",
        "empty line",
        "body",
        "no header",
        "FR-48 folded first line",
        "header alone",
        "mbox line alone",
    ],
)
def test_fr_48_and_58_odd_messages_leave_whole_and_never_join_our_header(raw: bytes) -> None:
    message = stamped(raw)
    assert message.endswith(raw)
    ours = message[: len(message) - len(raw)]
    assert ours.endswith(b"\r\n")
    assert raw[:1] not in (b" ", b"\t") or ours.endswith(b"\r\n\r\n")


def test_an_mbox_line_of_an_exported_file_stays_first() -> None:
    raw = b"From ann@acme.example Mon Nov 22\r\n" + HEAD + BODY
    message = stamped(raw)
    assert message.startswith(b"From ann@acme.example Mon Nov 22\r\nReceived: ")
    assert message.endswith(HEAD + BODY)


def test_a_signature_spoils_when_a_recipient_sees_another_subject() -> None:
    message = stamped(HEAD + BODY)
    assert not passes(message.replace(b"Subject: Hello", b"Subject: Yellow"), 0)


def test_25_megabytes_are_stamped_in_linear_time() -> None:
    raw = HEAD + b"\r\n" + (b" " * 996 + b"\r\n") * 25_000
    start = time.process_time()
    stamped(raw)
    assert time.process_time() - start < 3


def _bulk(raw: bytes, wish: Unsubscribe, account: Account, *recipients: str) -> bytes:
    made = stamper()
    made.unsubscribe = wish
    whole = mail(raw, recipients or ("bob@there.example",))
    return b"".join(made.stamp(whole, account, NOW, verdict=None, tagged=False))


def test_bulk_mail_gets_a_one_click_link_of_its_own_that_the_signatures_cover() -> None:
    wish = Unsubscribe("https://relay.example", frozenset(("bulk", "list")), frozenset())
    bulk = replace(ACCOUNT, klass=AccountClass.BULK)
    message = _bulk(HEAD + BODY, wish, bulk)
    assert header(message, b"List-Unsubscribe-Post") == [b"List-Unsubscribe=One-Click"]
    (link,) = header(message, b"List-Unsubscribe")
    text = re.fullmatch(rb"<https://relay\.example/unsubscribe/([a-z2-7]{106})>", link)
    assert text is not None
    said = token.open(RING, text[1].decode(), token.UNSUBSCRIBE)
    assert said is not None
    assert said.recipient_hash == RING.recipient_hash(3, "bob@there.example")
    assert token.open(RING, text[1].decode()) is None, "it is no feedback token"
    assert passes(message, 0)
    assert passes(message, 1)
    assert not passes(message.replace(b"One-Click", b"Two-Click"), 0)
    assert not passes(message.replace(b"/unsubscribe/", b"/elsewhere/"), 1)


@pytest.mark.parametrize(
    ("raw", "klass", "customers", "recipients"),
    [
        (HEAD + BODY, AccountClass.APP, (), ()),
        (HEAD + BODY, AccountClass.BULK, ("other",), ()),
        (HEAD + BODY, AccountClass.BULK, (), ("bob@there.example", "eve@there.example")),
        (HEAD + b"List-Unsubscribe: <https://acme.example/u>\r\n" + BODY, AccountClass.BULK, (), ()),
    ],
    ids=["another class", "another customer", "several recipients", "a link of its own"],
)
def test_other_mail_gets_no_link(
    raw: bytes, klass: AccountClass, customers: tuple[str, ...], recipients: tuple[str, ...]
) -> None:
    wish = Unsubscribe("https://relay.example", frozenset(("bulk",)), frozenset(customers))
    message = _bulk(raw, wish, replace(ACCOUNT, klass=klass), *recipients)
    assert b"relay.example/unsubscribe" not in message
    assert header(message, b"List-Unsubscribe-Post") == []
