from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from screening.mail import Mail
from screening.scanners.guard import Breaker, Guarded, Silence, Silent, Terms
from screening.verdict import Hit
from tests.screening.mails import body

MAIL = body(b"hello")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Flaky:
    name: str = "flaky"
    up: bool = True
    hangs: bool = False
    asked: list[str] = field(default_factory=list)

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        self.asked.append(mail.envelope.id)
        if self.hangs:
            await asyncio.Event().wait()
        if not self.up:
            raise OSError("refused")
        return (Hit("flaky", 1.0),)


@pytest.mark.parametrize("means", list(Silence))
async def test_silence_means_what_the_operator_said(means: Silence) -> None:
    guarded = Guarded(Flaky(up=False), Breaker(Clock()), Terms(silence=means))
    with pytest.raises(Silent, match="flaky: OSError") as silent:
        await guarded.ask(MAIL)
    assert silent.value.means is means


async def test_a_scanner_that_hangs_is_cut_at_its_deadline() -> None:
    guarded = Guarded(Flaky(hangs=True), Breaker(Clock()), Terms(deadline_seconds=0.01))
    with pytest.raises(Silent, match="TimeoutError"):
        await guarded.ask(MAIL)


async def test_every_question_is_heard_of() -> None:
    heard: list[tuple[str, str, str]] = []
    terms = Terms(heard=lambda name, outcome, _seconds, why: heard.append((name, outcome, why)))
    scanner = Flaky()
    guarded = Guarded(scanner, Breaker(Clock(), failures=1), terms)
    await guarded.ask(MAIL)
    scanner.up = False
    for _ in range(2):
        with pytest.raises(Silent):
            await guarded.ask(MAIL)
    assert heard == [("flaky", "hit", ""), ("flaky", "failed", "OSError"), ("flaky", "paused", "")]


async def test_the_breaker_opens_after_failures_and_lets_one_try_through() -> None:
    clock, scanner = Clock(), Flaky(up=False)
    guarded = Guarded(scanner, Breaker(clock, failures=2, pause_seconds=30))
    for _ in range(5):
        await _silent(guarded)
    assert len(scanner.asked) == 2
    clock.now = 31
    await _silent(guarded)
    await _silent(guarded)
    assert len(scanner.asked) == 3
    clock.now = 62
    scanner.up = True
    assert len(await guarded.ask(MAIL)) == 1
    assert len(await guarded.ask(MAIL)) == 1
    assert len(scanner.asked) == 5


async def _silent(guarded: Guarded) -> None:
    with pytest.raises(Silent):
        await guarded.ask(MAIL)
