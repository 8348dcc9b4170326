from __future__ import annotations

import asyncio

from relay.dns import Answer, Found, Resolver
from tests.relay.upstream.fake import until


class Zone:
    """A DNS that counts its questions."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        await self.gate.wait()
        return self.answers.get(kind, Answer(Found.NO))


async def test_an_answer_is_kept_for_its_time() -> None:
    now = [0.0]
    zone = Zone(MX=Answer(Found.YES, ("20 b.example.", "10 a.example."), 30), A=Answer(Found.FAILED))
    resolver = Resolver(zone.ask, monotonic=lambda: now[0])
    for _ in range(3):
        found, targets = await resolver.mx("Acme.example.")
        assert (found, [target.host for target in targets]) == (Found.YES, ["a.example", "b.example"])
    assert zone.asked == [("acme.example", "MX")]
    now[0] = 31
    await resolver.mx("acme.example")
    assert len(zone.asked) == 2
    for moment in (31, 32, 34):  # a failure is remembered for 2 s only, so that a flood does not ask again
        now[0] = moment
        assert (await resolver.lookup("acme.example", "A")).found is Found.FAILED
    assert zone.asked.count(("acme.example", "A")) == 2


async def test_one_name_is_asked_once_at_a_time_and_outlives_a_caller_who_gives_up() -> None:
    zone = Zone(TXT=Answer(Found.YES, ("v=DKIM1",), 60))
    zone.gate.clear()
    resolver = Resolver(zone.ask)
    tasks = [asyncio.create_task(resolver.lookup("k.example", "TXT")) for _ in range(5)]
    await until(lambda: zone.asked)
    tasks[0].cancel()
    zone.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(zone.asked) == 1
    assert [getattr(answer, "records", None) for answer in answers[1:]] == [("v=DKIM1",)] * 4


async def test_hostile_records_are_left_out() -> None:
    zone = Zone(
        MX=Answer(Found.YES, ("x y", "10", "10 a.example. z", "5 ok.example."), 60),
        SRV=Answer(Found.YES, ("a b c d",)),
    )
    resolver = Resolver(zone.ask)
    assert [target.host for target in (await resolver.mx("a.example"))[1]] == ["ok.example"]
    assert (await resolver.srv("a.example"))[1] == ()


async def test_no_resolver_is_a_failed_answer_not_an_error() -> None:
    resolver = Resolver(seconds=0.05)
    answer = await resolver.lookup("x" * 70 + ".invalid", "A")
    assert answer.found in (Found.FAILED, Found.NO)
    await resolver.close()
