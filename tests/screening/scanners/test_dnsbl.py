from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from screening.mail import Mail
from screening.scanners.dnsbl import (
    CACHE_SECONDS,
    MAX_QUERIES,
    Asks,
    DnsLists,
    Zone,
    domains_of,
    reversed_address,
)
from screening.scanners.guard import Unavailable
from screening.tuning.examples import envelope
from tests.screening.mails import body

ZONE = Zone("uri.list.test", 4.0, {"127.0.0.2": "phishing"})


@dataclass
class Dns:
    """A resolver of one table that counts its questions."""

    table: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if name.startswith("broken."):
            raise OSError("SERVFAIL")
        return self.table.get(name, ())


async def test_listed_domains_are_hits_with_words() -> None:
    dns = Dns({"evil.example.uri.list.test": ("127.0.0.2",), "acme.example.uri.list.test": ("127.0.0.99",)})
    lists = DnsLists([ZONE], dns, lambda: 0.0)
    hits = await lists.ask(body(b"see https://www.evil.example/x"))
    assert [(hit.rule, hit.score, hit.evidence) for hit in hits] == [
        ("dnsbl_uri_list_test", 4.0, "evil.example: phishing (uri.list.test)")
    ]


async def test_answers_are_cached_until_they_grow_old() -> None:
    now = [0.0]
    dns = Dns()
    lists = DnsLists([ZONE], dns, lambda: now[0])
    for moment in (0.0, CACHE_SECONDS - 1, CACHE_SECONDS + 1):
        now[0] = moment
        await lists.ask(body(b"hello"))
    assert dns.asked == ["acme.example.uri.list.test"] * 2


async def test_one_question_is_asked_once_at_a_time() -> None:
    dns = Dns(gate=asyncio.Event())
    lists = DnsLists([ZONE], dns, lambda: 0.0)
    waiting = [asyncio.create_task(lists.ask(body(b"hello"))) for _ in range(20)]
    await dns.begun.wait()
    waiting[0].cancel()  # one that gives up does not take the answer from the others
    assert dns.gate is not None
    dns.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert len(dns.asked) == 1
    assert all(answer == () for answer in answers[1:])


async def test_a_failure_is_not_cached_and_never_looks_like_a_clean_answer() -> None:
    dns = Dns({"evil.example.uri.list.test": ("127.0.0.2",)})
    lists = DnsLists([ZONE], dns, lambda: 0.0)
    for _ in range(2):
        with pytest.raises(OSError, match="SERVFAIL"):
            await lists.ask(body(b"https://broken.example/"))
    assert dns.asked.count("broken.example.uri.list.test") == 2
    assert len(await lists.ask(body(b"https://broken.example/ https://evil.example/"))) == 1


async def test_re28_one_mail_causes_at_most_twenty_queries() -> None:
    dns = Dns()
    lists = DnsLists([ZONE, Zone("b.test", 1.0)], dns, lambda: 0.0)
    await lists.ask(body(b" ".join(b"https://x%d.example/" % n for n in range(500))))
    assert len(dns.asked) == MAX_QUERIES


def test_numbers_and_local_names_are_not_asked_about() -> None:
    assert domains_of(body(b"http://192.0.2.1/ http://localhost/ http://[::1]/ https://a.evil.example/")) == [
        "acme.example",
        "evil.example",
    ]


@pytest.mark.parametrize("answer", ["127.255.255.254", "192.0.2.7"])
async def test_a_list_that_does_not_want_to_be_asked_is_no_clean_answer(answer: str) -> None:
    lists = DnsLists([ZONE], Dns({"acme.example.uri.list.test": (answer,)}), lambda: 0.0)
    with pytest.raises(Unavailable, match=answer):
        await lists.ask(body(b"hello"))


async def test_networks_of_answers_have_words_too() -> None:
    zone = Zone("age.test", 1.0, {"127.0.2.0/24": "younger than a day"})
    lists = DnsLists([zone], Dns({"acme.example.age.test": ("127.0.2.9",)}), lambda: 0.0)
    hits = await lists.ask(body(b"hello"))
    assert [hit.evidence for hit in hits] == ["acme.example: younger than a day (age.test)"]


async def test_lists_of_clients_are_asked_about_public_addresses_alone() -> None:
    dns = Dns({"9.8.7.1.ip.test": ("127.0.0.2",)})
    lists = DnsLists([Zone("ip.test", 2.0)], dns, lambda: 0.0, asks=Asks.CLIENT, name="clients")
    mail = Mail(dataclasses.replace(envelope(()), peer_ip="1.7.8.9"), body(b"x").raw)
    hits = await lists.ask(mail)
    assert [(hit.rule, hit.evidence) for hit in hits] == [("clients_ip_test", "the client: listed (ip.test)")]
    assert reversed_address("2a00::1")[0].startswith("1.0.0")
    assert [reversed_address(one) for one in ("10.0.0.1", "", "::1", "not")] == [[], [], [], []]
