"""Whatever comes in, in whatever order and number: the same votes, and nothing from forgeries."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.model import Level, State
from relay.store import switch
from tests.relay.feedback.scene import HUB, LOOP, STRANGER, arf

if TYPE_CHECKING:
    from relay.signing.dkim import Signer
    from tests.relay.feedback.scene import Scene

_numbers = itertools.count()
RELAXED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RECIPIENTS = ("ann@a.example", "bea@a.example", "cid@b.example")
signers = st.sampled_from([LOOP, HUB, STRANGER, None])
reports = st.lists(
    st.tuples(
        signers,
        st.sampled_from([0, 1]),
        st.sampled_from(["abuse", "abuse", "abuse", "not-spam", "opt-out"]),
        st.sampled_from([(), ("ann@a.example",), ("bea@a.example", "cid@b.example"), ("zoe@a.example",)]),
    ),
    max_size=8,
)


async def _outcome(
    scene: Scene, items: list[tuple[Signer | None, int, str, tuple[str, ...]]]
) -> tuple[int, ...]:
    """Send two messages from a fresh account, take these reports, return what its tally says."""
    account = scene.add(f"user{next(_numbers)}@acme.example")
    sent = scene.send_all([RECIPIENTS, ("ann@a.example",)], account)
    for wrapping, (signer, place, kind, named) in enumerate(items):
        await scene.take(arf(sent[place], signer, kind=kind, named=named, wrapping=wrapping))
    tally = scene.tally(account)
    return tally.votes, tally.reporters, tally.grade_b


@given(items=reports, data=st.data())
@RELAXED
def test_duplicates_and_reordering_change_nothing(
    scene: Scene, items: list[tuple[Signer | None, int, str, tuple[str, ...]]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(items)) + data.draw(
        st.lists(st.sampled_from(items), max_size=4) if items else st.just([])
    )

    async def both() -> tuple[tuple[int, ...], tuple[int, ...]]:
        return await _outcome(scene, items), await _outcome(scene, shuffled)

    first, second = asyncio.run(both())
    assert first == second
    assert first[0] <= len(RECIPIENTS) + 1, "one vote per message and recipient"


@given(
    forgeries=st.lists(
        st.tuples(
            st.sampled_from([STRANGER, None]),
            st.integers(0, 39),
            st.sampled_from(["abuse", "fraud", "not-spam", "other"]),
            st.sampled_from(["fbl@loop.example", "fbl@hub.example", "x@stranger.example"]),
        ),
        max_size=40,
    )
)
@settings(RELAXED, max_examples=8)
def test_no_sequence_of_forged_reports_moves_a_standing(
    scene: Scene, forgeries: list[tuple[Signer | None, int, str, str]]
) -> None:
    async def work() -> None:
        account = scene.add(f"user{next(_numbers)}@acme.example")
        sent = scene.send_many(40, account)
        for wrapping, (signer, place, kind, author) in enumerate(forgeries):
            await scene.take(arf(sent[place], signer, kind=kind, author=author, wrapping=wrapping))
        assert await scene.sweep() == []
        assert scene.standing(account).state is State.ACTIVE
        assert scene.tally(account).votes == 0

    asyncio.run(work())


def test_complaints_are_monotone(scene: Scene) -> None:
    async def work() -> None:
        sent = scene.send_many(60)
        severity = 0
        for one in sent:
            await scene.complain([one])
            await scene.sweep()
            now = scene.standing().state.severity
            assert now >= severity
            severity = now
        assert severity == State.SUSPENDED.severity

    asyncio.run(work())


@given(
    happened=st.lists(
        st.sampled_from(["complain", "complain", "forge", "sweep", "wait", "suspend", "reinstate"]),
        max_size=14,
    )
)
@settings(RELAXED, max_examples=12)
def test_reinstating_is_always_possible_and_forgives_what_was_sent_before(
    scene: Scene, happened: list[str]
) -> None:
    async def work() -> None:
        account = scene.add(f"user{next(_numbers)}@acme.example")
        sent = iter(scene.send_many(400, account))
        for what in happened:
            match what:
                case "complain":
                    await scene.complain([next(sent) for _ in range(6)])
                case "forge":
                    await scene.take(arf(next(sent), STRANGER))
                case "sweep":
                    await scene.sweep()
                case "wait":
                    scene.pass_time(timedelta(hours=5))
                case "suspend" if scene.standing(account).state is not State.SUSPENDED:
                    with scene.store.begin() as tx:
                        switch.set_by_staff(
                            tx,
                            scene.now,
                            Level.ACCOUNT,
                            account.login,
                            State.SUSPENDED,
                            reason="looked at it",
                        )
                case "reinstate" if scene.standing(account).state is not State.ACTIVE:
                    scene.reinstate(account)
        if scene.standing(account).state is not State.ACTIVE:
            scene.pass_time(timedelta(seconds=2))
            scene.reinstate(account)
            assert scene.standing(account).state is State.ACTIVE
            await scene.complain([next(sent) for _ in range(40)])
            await scene.sweep()
            assert scene.standing(account).state is State.ACTIVE, "it was sent before"

    asyncio.run(work())


@given(junk=st.binary(max_size=400), trusted=st.booleans())
@RELAXED
def test_no_bytes_raise_or_move_anything(scene: Scene, junk: bytes, *, trusted: bool) -> None:
    async def work() -> None:
        for raw in (junk, b"From: fbl@loop.example\r\nContent-Type: message/feedback-report\r\n\r\n" + junk):
            assert not (await scene.take(raw, trusted=trusted)).counted
        assert await scene.sweep() == []

    asyncio.run(work())
