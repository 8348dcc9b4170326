from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from screening.mail import Mail
from screening.scanners.guard import Breaker, Guarded, Silence, Unavailable
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


@pytest.mark.parametrize(("silence", "score"), [(Silence.SKIP, 0.0), (Silence.HOLD, 7.0)])
async def test_silence_means_what_the_policy_says(silence: Silence, score: float) -> None:
    guarded = Guarded(Flaky(up=False), Breaker(Clock()), silence=silence)
    assert sum(hit.score for hit in await guarded.ask(MAIL)) == score


async def test_a_deferred_silence_is_an_unanswered_check() -> None:
    with pytest.raises(Unavailable, match="flaky: OSError"):
        await Guarded(Flaky(up=False), Breaker(Clock()), silence=Silence.DEFER).ask(MAIL)


async def test_a_scanner_that_hangs_is_cut_at_its_deadline() -> None:
    guarded = Guarded(Flaky(hangs=True), Breaker(Clock()), deadline_seconds=0.01, silence=Silence.DEFER)
    with pytest.raises(Unavailable, match="TimeoutError"):
        await guarded.ask(MAIL)


async def test_the_breaker_opens_after_failures_and_lets_one_try_through() -> None:
    clock, scanner = Clock(), Flaky(up=False)
    guarded = Guarded(scanner, Breaker(clock, failures=2, pause_seconds=30))
    for _ in range(5):
        await guarded.ask(MAIL)
    assert len(scanner.asked) == 2
    clock.now = 31
    await guarded.ask(MAIL)
    await guarded.ask(MAIL)
    assert len(scanner.asked) == 3
    clock.now = 62
    scanner.up = True
    assert len(await guarded.ask(MAIL)) == 1
    assert len(await guarded.ask(MAIL)) == 1
    assert len(scanner.asked) == 5
