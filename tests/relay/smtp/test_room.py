from __future__ import annotations

import asyncio

from relay.smtp.room import Room


async def test_small_things_go_in_at_once() -> None:
    room = Room(100)
    assert await room.take(60, 0)
    assert await room.take(40, 0)
    assert not await room.take(1, 0.01)


async def test_something_larger_than_the_room_goes_alone() -> None:
    room = Room(100)
    assert await room.take(500, 0)
    assert not await room.take(1, 0.01)
    room.give(500)
    assert await room.take(1, 0)
    assert not await room.take(500, 0.01)


async def test_who_waits_longest_goes_first() -> None:
    room = Room(100)
    assert await room.take(100, 0)
    order: list[int] = []

    async def want(octets: int) -> None:
        assert await room.take(octets, 5)
        order.append(octets)

    waiting = [asyncio.create_task(want(octets)) for octets in (80, 30, 20)]
    await asyncio.sleep(0)
    room.give(100)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == [80]
    room.give(80)
    await asyncio.gather(*waiting)
    assert order == [80, 30, 20]


async def test_who_gives_up_does_not_stand_in_the_way() -> None:
    room = Room(100)
    assert await room.take(60, 0)
    impatient = asyncio.create_task(room.take(90, 0.01))
    patient = asyncio.create_task(room.take(40, 5))
    assert not await impatient
    assert await patient
    lost = asyncio.create_task(room.take(50, 5))
    await asyncio.sleep(0)
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    room.give(60)
    room.give(40)
    assert await room.take(100, 0)


async def test_room_that_comes_with_the_cancellation_is_given_back() -> None:
    room = Room(100)
    assert await room.take(100, 0)
    waiting = asyncio.create_task(room.take(100, 5))
    await asyncio.sleep(0)
    room.give(100)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await room.take(100, 0)
