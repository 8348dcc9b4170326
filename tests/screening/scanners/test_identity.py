from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from screening.mail import Mail, SignedAs
from screening.scanners import dmarc
from screening.scanners.dmarc import Lookup, Records
from screening.scanners.guard import Unavailable
from screening.scanners.identity import MAX_QUERIES, Identity
from screening.tuning.examples import envelope

HOST = "192.0.2.7"


@dataclass
class Dns:
    """Answers out of a table of "name TYPE"; a text "FAIL" is no answer."""

    table: Mapping[str, Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: str, kind: str) -> Records:
        self.asked.append(f"{name} {kind}")
        texts = tuple(self.table.get(f"{name} {kind}", ()))
        if "FAIL" in texts:
            raise Unavailable("DNS is down")
        return Records(exists=any(key.startswith(f"{name} ") for key in self.table), texts=texts)


async def unsigned(_mail: Mail, _lookup: Lookup) -> Sequence[str]:
    return ()


async def signed_by_partner(_mail: Mail, _lookup: Lookup) -> Sequence[str]:
    return ("mail.acme.example",)


OURS = SignedAs("acme.example", "gp", "KEY=")


def mail(author: str = "a@acme.example", head: str = "", *, ours: SignedAs | None = None) -> Mail:
    told = dataclasses.replace(
        envelope(), sender="a@acme.example", signed_as=lambda _domain: (ours,) if ours else ()
    )
    return Mail(told, f"From: {author}\r\n{head}\r\nhello".encode())


REJECT = {"_dmarc.acme.example TXT": ["v=DMARC1; p=reject"], "acme.example A": ["192.0.2.1"]}
SPF_FAILS = {"acme.example TXT": ["v=spf1 ip4:198.51.100.1 -all"]}
SPF_PASSES = {"acme.example TXT": [f"v=spf1 ip4:{HOST} -all"]}
KEY = {"gp._domainkey.acme.example TXT": ["v=DKIM1; k=rsa; p=KEY="]}


@pytest.mark.parametrize(
    ("table", "message", "evidence"),
    [
        (
            REJECT | SPF_FAILS,
            mail(),
            "acme.example asks receivers to reject this (DMARC): SPF fail for 192.0.2.7",
        ),
        (REJECT | SPF_PASSES, mail(), None),
        (REJECT | SPF_FAILS | KEY, mail(ours=OURS), None),
        (REJECT | SPF_FAILS, mail(ours=OURS), "no signature passes"),
        (SPF_FAILS, mail(), "acme.example says that others send this (SPF -all)"),
        (SPF_FAILS | KEY, mail(ours=OURS), None),
        ({}, mail(), None),
        ({"_dmarc.acme.example TXT": ["v=DMARC1; p=none"]}, mail(), None),
        ({"_dmarc.acme.example TXT": ["v=DMARC1; p=quarantine; t=y"]}, mail(), None),
        (REJECT, mail(), "asks receivers to reject"),
    ],
)
async def test_what_receivers_will_refuse_is_flagged(
    table: dict[str, Sequence[str]], message: Mail, evidence: str | None
) -> None:
    scanner = Identity(Dns(table), unsigned, lambda: 0.0, leaves_from=[HOST])
    hits = await scanner.ask(message)
    assert [hit.score for hit in hits] == ([0.0] if evidence else [])
    if evidence:
        assert evidence in hits[0].evidence


async def test_a_signature_of_the_client_itself_counts_unless_alignment_is_strict() -> None:
    told = mail(head="DKIM-Signature: v=1\r\n")
    for record, hits in (("v=DMARC1; p=reject", 0), ("v=DMARC1; p=reject; adkim=s", 1)):
        dns = Dns(REJECT | SPF_FAILS | {"_dmarc.acme.example TXT": [record]})
        scanner = Identity(dns, signed_by_partner, lambda: 0.0, leaves_from=[HOST])
        assert len(await scanner.ask(told)) == hits


async def test_the_answer_is_looked_up_once_for_all_mail_of_a_sender() -> None:
    now, dns = [0.0], Dns(REJECT | SPF_FAILS)
    scanner = Identity(dns, unsigned, lambda: now[0], leaves_from=[HOST])
    await asyncio.gather(*(scanner.ask(mail()) for _ in range(20)))
    first = len(dns.asked)
    await scanner.ask(mail())
    assert len(dns.asked) == first < 10
    now[0] = 901.0
    await scanner.ask(mail())
    assert len(dns.asked) == 2 * first


async def test_without_an_answer_of_dns_there_is_no_verdict() -> None:
    scanner = Identity(Dns({"_dmarc.acme.example TXT": ["FAIL"]}), unsigned, lambda: 0.0)
    with pytest.raises(Unavailable):
        await scanner.ask(mail())


async def test_re28_one_message_asks_dns_a_bounded_number_of_times() -> None:
    dns = Dns({f"{'a.' * 40}example TXT": ["v=spf1 " + "".join(f"a:x{n}.example " for n in range(99))]})
    scanner = Identity(dns, unsigned, lambda: 0.0, leaves_from=[HOST, "192.0.2.8", "192.0.2.9", "192.0.2.10"])
    await scanner.ask(mail(f"x@{'a.' * 40}example"))
    assert len(dns.asked) <= MAX_QUERIES


async def test_private_addresses_of_the_server_tell_nothing() -> None:
    message = mail()
    near = dataclasses.replace(message.envelope, leaves_from=("127.0.0.1", "mail.acme.example"))
    dns = Dns(REJECT | SPF_FAILS | {"mail.acme.example A": ["10.0.0.3"]})
    assert await Identity(dns, unsigned, lambda: 0.0).ask(Mail(near, message.raw)) == ()
    dns.table = {**dns.table, "mail.acme.example A": ["8.8.8.8"]}
    assert len(await Identity(dns, unsigned, lambda: 0.0).ask(Mail(near, message.raw))) == 1


# --- DMARC


def test_a_tree_walk_asks_at_most_eight_names() -> None:
    assert dmarc.walk("a.b.example") == ["a.b.example", "b.example", "example"]
    long = ".".join("abcdefghijk") + ".example"
    assert dmarc.walk(long) == [long, *dmarc.walk("f.g.h.i.j.k.example")]
    assert len(dmarc.walk(long)) == 8


@pytest.mark.parametrize(
    ("table", "organization"),
    [
        ({}, "x.y.acme.co.example"),
        ({"_dmarc.acme.co.example TXT": ["v=DMARC1; p=none"]}, "acme.co.example"),
        ({"_dmarc.y.acme.co.example TXT": ["v=DMARC1; psd=n"], "_dmarc.acme.co.example TXT": ["v=DMARC1"]},
         "y.acme.co.example"),
        ({"_dmarc.co.example TXT": ["v=DMARC1; psd=y"]}, "acme.co.example"),
        ({"_dmarc.acme.co.example TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"]}, "x.y.acme.co.example"),
    ],
)  # fmt: skip
async def test_the_organization_is_where_the_tree_says(
    table: dict[str, Sequence[str]], organization: str
) -> None:
    assert await dmarc.organization("x.y.acme.co.example", Dns(table)) == organization


@pytest.mark.parametrize(
    ("record", "author", "exists", "asks"),
    [
        ("v=DMARC1; p=reject", "acme.example", True, "reject"),
        ("v=DMARC1; p=reject; sp=quarantine", "sub.acme.example", True, "quarantine"),
        ("v=DMARC1; p=none; np=reject", "no.acme.example", False, "reject"),
        ("v=DMARC1; p=reject; t=y", "acme.example", True, "quarantine"),
        ("v=DMARC1; p=nonsense", "acme.example", True, "none"),
        ("v=DMARC1; pct=50; p=reject; future=1", "acme.example", True, "reject"),
    ],
)
def test_what_a_record_asks_for(record: str, author: str, *, exists: bool, asks: str) -> None:
    policy = dmarc.read(record, "acme.example")
    assert policy is not None
    assert policy.asks(author=author, exists=exists) == asks


@pytest.mark.parametrize("text", ["", "v=spf1 -all", "p=reject; v=DMARC1", "v=DMARC2; p=reject", ";"])
def test_other_records_are_none(text: str) -> None:
    assert dmarc.read(text, "acme.example") is None
