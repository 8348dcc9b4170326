"""The real clamd and rspamd, with a signature of our own each; skipped where they are not installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from screening.scanners.clamd import Clamd
from screening.scanners.guard import Breaker, Guarded, Silent
from screening.scanners.rspamd import Rspamd
from tests.screening.mails import body, mail_of
from tests.screening.scanners import daemons
from tests.screening.scanners.daemons import MARK, SIGNATURE


@pytest.fixture(scope="module")
def clamd() -> Iterator[Path]:
    with daemons.clamd() as path:
        yield path


@pytest.fixture(scope="module")
def rspamd() -> Iterator[str]:
    with daemons.rspamd() as address:
        yield address


async def test_the_real_clamd_finds_what_its_signatures_name(clamd: Path) -> None:
    scanner = Clamd(lambda: asyncio.open_unix_connection(str(clamd)))
    hits = await scanner.ask(mail_of({"files": {"a.bin": f"xx {MARK} xx"}}))
    assert [(hit.rule, hit.score, hit.evidence) for hit in hits] == [
        ("clamd", 20.0, f"{SIGNATURE}.UNOFFICIAL")
    ]
    assert await scanner.ask(mail_of({"files": {"a.bin": "harmless"}})) == ()


async def test_the_real_rspamd_names_its_symbols(rspamd: str) -> None:
    host, _, port = rspamd.rpartition(":")
    scanner = Rspamd(lambda: asyncio.open_connection(host, int(port)))
    hits = await scanner.ask(body(f"xx {MARK} xx".encode()))
    assert [(hit.rule, hit.evidence) for hit in hits] == [("rspamd", "OWN_MARK")]
    assert 3.0 <= hits[0].score <= 6.0
    assert await scanner.ask(body(b"harmless")) == ()


async def test_a_clamd_that_is_not_there_is_no_clean_answer() -> None:
    scanner = Clamd(lambda: asyncio.open_unix_connection("/nonexistent/clamd"))
    with pytest.raises(Silent):
        await Guarded(scanner, Breaker(lambda: 0.0)).ask(mail_of("hello"))
