from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from relay.outbox.schedule import BELIEVED_SECONDS, Servers, Sparing, Steady

START = datetime(2026, 11, 22, tzinfo=UTC)


class Clocks:
    def __init__(self) -> None:
        self.wall, self.seconds = START, 100.0

    def pass_by(self, span: timedelta, wall: timedelta | None = None) -> None:
        self.seconds += span.total_seconds()
        self.wall += span if wall is None else wall


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
def test_du_32_a_jump_of_the_wall_clock_is_not_believed_at_once(jump: timedelta) -> None:
    clocks = Clocks()
    steady = Steady(lambda: clocks.wall, lambda: clocks.seconds)
    clocks.pass_by(timedelta(minutes=1), timedelta(minutes=1) + jump)
    assert steady.now() == START + timedelta(minutes=1)
    clocks.pass_by(timedelta(seconds=BELIEVED_SECONDS - 1))
    assert steady.now() == START + timedelta(minutes=1, seconds=BELIEVED_SECONDS - 1)
    clocks.pass_by(timedelta(seconds=1))
    assert steady.now() == clocks.wall
    clocks.pass_by(timedelta(seconds=1))
    assert steady.now() == clocks.wall


def test_du_32_a_jump_there_and_back_leaves_no_trace_and_small_corrections_are_followed() -> None:
    clocks = Clocks()
    steady = Steady(lambda: clocks.wall, lambda: clocks.seconds)
    clocks.pass_by(timedelta(minutes=1), timedelta(days=2))
    assert steady.now() == START + timedelta(minutes=1)
    clocks.pass_by(timedelta(minutes=1), timedelta(minutes=2) - timedelta(days=2))
    assert steady.now() == clocks.wall == START + timedelta(minutes=2)
    clocks.pass_by(timedelta(minutes=1), timedelta(minutes=4))
    assert steady.now() == clocks.wall


def test_a_server_gets_a_few_at_once_and_one_after_a_failure() -> None:
    servers = Servers(3)
    for left in (2, 1, 0):
        servers.started(7)
        assert servers.room(7, 0.0) == left
    assert servers.room(8, 0.0) == 3
    servers.failed(7, 0.0, 0.5)
    servers.failed(7, 0.0, 0.5)
    assert servers.room(7, 9.0) == 0
    assert servers.left_alone(9.0) == 1
    for _ in range(3):
        servers.ended(7)
    assert servers.room(7, 10.0) == 1
    assert servers.urgent_room(7) == 3
    servers.started(7)
    assert servers.room(7, 10.0) == 0
    servers.failed(7, 10.0, 0.5)
    assert servers.room(7, 29.0) == 0
    servers.answered(7)
    assert servers.room(7, 29.0) == 2
    servers.ended(7)
    assert servers.room(7, 29.0) == 3


def test_an_account_is_told_so_often_an_hour() -> None:
    sparing = Sparing(2)
    asked = (0.0, 10.0, 20.0, 3599.0, 3600.0)
    assert [sparing.allows(1, at) for at in asked] == [True, True, False, False, True]
    assert sparing.allows(2, 20.0)
