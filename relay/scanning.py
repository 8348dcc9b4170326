"""Scanners out of the configuration: how each is reached, and what then leaves this machine."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from relay import clock
from relay.dns import Found
from relay.scanner_config import UNIX
from relay.signing import public, verify
from relay.values import split_address
from screening.scanners.clamd import Clamd, Connect
from screening.scanners.dmarc import Lookup, Records
from screening.scanners.dnsbl import MAX_QUERIES, Asks, DnsLists, Resolve, Zone
from screening.scanners.guard import Breaker, Guarded, Heard, Silence, Terms, Unavailable
from screening.scanners.rspamd import Rspamd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.config import Config
    from relay.dns import Resolver
    from relay.scanner_config import ScannerConfig
    from screening.mail import Mail
    from screening.scanners.identity import Identity
    from screening.screen import Scanner


def build(config: Config, resolver: Resolver, heard: Heard) -> list[Guarded]:
    """Return the configured scanners; nothing is connected before the first question."""
    lists = sum(one.kind == "dnsbl" for one in config.scanner)
    return [
        Guarded(
            _scanner(one, resolver, MAX_QUERIES // max(1, lists)),
            Breaker(clock.monotonic),
            Terms(one.deadline.total_seconds(), Silence(one.failure), heard),
        )
        for one in config.scanner
    ]


def _scanner(settings: ScannerConfig, resolver: Resolver, queries: int) -> Scanner:
    name, points = settings.label, settings.points
    match settings.kind:
        case "clamd":
            return Clamd(_reach(settings.address), name=name, score=points)
        case "rspamd":
            return Rspamd(_reach(settings.address), name=name, most=points)
        case "identity":
            return identity(resolver, settings)
        case _:
            return DnsLists(
                [Zone(zone, points, settings.answers) for zone in settings.zones],
                _addresses(resolver),
                clock.monotonic,
                name=name,
                asks=Asks(settings.asks),
                queries=queries,
            )


def _reach(address: str) -> Connect:
    """Return what opens a connection to "HOST:PORT" or "unix:/PATH"."""
    if address.startswith(UNIX):
        return lambda: asyncio.open_unix_connection(address.removeprefix(UNIX))
    host, port = split_address(address)
    return lambda: asyncio.open_connection(host, port)


def _addresses(resolver: Resolver) -> Resolve:
    async def resolve(name: str) -> Sequence[str]:
        answer = await resolver.lookup(name, "A")
        if answer.found is Found.FAILED:
            raise Unavailable(f"no answer from DNS for {name.partition('.')[2]}")
        return answer.records

    return resolve


def _records(resolver: Resolver) -> Lookup:
    async def lookup(name: str, kind: str) -> Records:
        answer = await resolver.lookup(name, kind)
        if answer.found is Found.FAILED:
            raise Unavailable(f"no answer from DNS for {kind} of {name}")
        return Records(exists=answer.found is not Found.NO, texts=answer.records)

    return lookup


async def _signatures(mail: Mail, lookup: Lookup) -> Sequence[str]:
    """Return the domains whose signatures in the message itself pass."""
    records = {}
    for selector, domain in dict.fromkeys(verify.wanted_keys(mail.raw)):
        records[selector, domain] = (await lookup(f"{selector}._domainkey.{domain}", "TXT")).texts

    def keys(selector: str, domain: str) -> Iterator[public.KeyRecord]:
        for text in records.get((selector, domain), ()):
            if (found := public.read_record(text)) is not None:
                yield found

    found = await asyncio.to_thread(verify.examine, mail.raw, keys, clock.now())
    return [one.domain for one in found if one.state is verify.State.PASS and not one.partial]


def identity(resolver: Resolver, settings: ScannerConfig) -> Identity:
    """Return the check of senders alone."""
    # imported here: the SPF library costs whoever does without it 70 ms
    from screening.scanners.identity import Identity

    return Identity(
        _records(resolver),
        _signatures,
        clock.monotonic,
        name=settings.label,
        score=settings.points,
        leaves_from=settings.leaves_from,
    )


def disclosures(config: Config) -> Iterator[str]:
    """Yield what scanners are told that are not on this machine, a line each."""
    for one in config.scanner:
        match one.kind:
            case "dnsbl":
                what = "the client's address" if one.asks == "client" else "domains of authors and links"
                yield f"to DNS, {', '.join(one.zones)}: {what} of every message ({one.label})"
            case "identity":
                yield f"to DNS: domains of senders, and hosts that their records name ({one.label})"
            case _ if leaves(one.address):
                yield f"to {one.address}: every message, whole, with sender and recipients ({one.label})"


def leaves(address: str) -> bool:
    """Return whether what is sent to a `HOST:PORT` or a socket's file leaves this machine."""
    if address.startswith(UNIX):
        return False
    host = split_address(address)[0]
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
