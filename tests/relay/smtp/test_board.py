"""What the processes of a node know together about clients."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest

from relay.config import Limits
from relay.smtp import board as boards
from relay.smtp import reply as replies
from relay.smtp.auth import Failures
from relay.smtp.board import Board, News
from relay.smtp.connections import Connections, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def handle() -> Iterator[int]:
    made = os.memfd_create("board")
    yield made
    os.close(made)


@pytest.fixture
def edges(handle: int) -> list[Board]:
    return [Board(handle, processes=3, number=number) for number in (1, 2)]


def test_connections_of_a_client_count_in_every_process(edges: list[Board]) -> None:
    one, two = (Connections(Limits(connections_per_client=3), board) for board in edges)
    slots = [connections.enter("192.0.2.1", 0.0) for connections in (one, two, one, two, one)]
    assert [isinstance(slot, Slot) for slot in slots] == [True, True, True, False, False]
    assert slots[3] is replies.TOO_MANY_CONNECTIONS
    assert isinstance(two.enter("192.0.2.2", 0.0), Slot)
    assert isinstance(slots[0], Slot)
    one.leave(slots[0])
    assert isinstance(two.enter("192.0.2.1", 0.0), Slot)


def test_connections_per_minute_count_in_every_process(edges: list[Board]) -> None:
    both = [Connections(Limits(connections_per_minute=10), board) for board in edges]
    slots = [both[turn % 2].enter("192.0.2.1", 0.0) for turn in range(12)]
    assert [isinstance(slot, Slot) for slot in slots] == [True] * 10 + [False] * 2


def test_sessions_of_an_account_and_all_connections_count_in_every_process(edges: list[Board]) -> None:
    limits = Limits(sessions_per_account=2, connections=5)
    both = [Connections(limits, board) for board in edges]
    slots = []
    for turn in range(3):
        slot = both[turn % 2].enter(f"192.0.2.{turn}", 0.0)
        assert isinstance(slot, Slot)
        slots.append(both[turn % 2].log_in(slot, "A@acme.example"))
    assert slots == [None, None, replies.TOO_MANY_SESSIONS]
    assert isinstance(both[0].enter("192.0.2.8", 0.0), Slot)
    assert isinstance(both[1].enter("192.0.2.9", 0.0), Slot)
    assert both[0].enter("192.0.2.10", 0.0) is replies.TOO_BUSY


def test_what_a_process_counted_before_it_died_is_taken_back_by_its_successor(
    handle: int, edges: list[Board]
) -> None:
    limits = Limits(connections_per_client=2)
    one, two = (Connections(limits, board) for board in edges)
    assert isinstance(one.enter("192.0.2.1", 0.0), Slot)
    assert isinstance(two.enter("192.0.2.1", 0.0), Slot)
    assert two.enter("192.0.2.1", 0.0) is replies.TOO_MANY_CONNECTIONS
    successor = Connections(limits, Board(handle, processes=3, number=1))
    assert isinstance(successor.enter("192.0.2.1", 0.0), Slot)
    assert two.enter("192.0.2.1", 0.0) is replies.TOO_MANY_CONNECTIONS


def test_wrong_passwords_and_good_logins_are_known_in_every_process_also_to_one_that_starts_later(
    handle: int, edges: list[Board]
) -> None:
    one, two = (Failures(4, board) for board in edges)
    two.succeeded("192.0.2.1", "owner", 0.0)
    for number in range(4):
        assert not two.blocked("192.0.2.1", "stranger", 1.0)
        (one, two)[number % 2].failed("192.0.2.1", "stranger", f"wrong {number}", 1.0)
    late = Failures(4, Board(handle, processes=3, number=0))
    for failures in (one, two, late):
        assert failures.blocked("192.0.2.1", "stranger", 2.0)
        assert not failures.blocked("192.0.2.1", "owner", 2.0)
    alarms = [(one, two)[n % 2].failed(f"10.0.0.{n}", "victim", f"guess {n}", 3.0) for n in range(50)]
    assert alarms.count(True) == 1
    assert one.delay("10.1.1.1", "victim", 4.0) == two.delay("10.1.1.1", "victim", 4.0) > 0


def test_a_full_board_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "ROWS", 128)
    connections = Connections(Limits())
    slots = [connections.enter(f"10.0.{number >> 8}.{number & 255}", 0.0) for number in range(1000)]
    assert all(isinstance(slot, Slot) for slot in slots)
    for slot in slots:
        assert isinstance(slot, Slot)
        connections.leave(slot)
    assert connections.open == 0


def test_rows_whose_time_is_over_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "ROWS", 128)
    connections = Connections(Limits(connections_per_minute=1))
    for number in range(2000):
        ip, now = f"10.0.{number >> 8}.{number & 255}", number * 100.0
        slot = connections.enter(ip, now)
        assert isinstance(slot, Slot)
        assert connections.enter(ip, now) is replies.CONNECTING_TOO_FAST
        connections.leave(slot)


def test_old_news_give_way_to_new(handle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "NEWS", 8)
    teller, listener = (Board(handle, processes=2, number=number) for number in (0, 1))
    names = [teller.hashed(str(number)) for number in range(20)]
    for number, name in enumerate(names):
        teller.tell(News(number % 2 == 0, name, name, name, float(number)))
    assert [news.client for news in listener.hear()] == names[-8:]
    assert listener.hear() == []


def _count_up(handle: int, number: int) -> None:
    board = Board(handle, processes=5, number=number)
    for turn in range(500):
        board.more(board.hashed("client", str(turn)), 0.0)
        name = board.hashed(str(turn))
        board.tell(News(True, name, name, name, float(number)))  # noqa: FBT003 - a record


def test_processes_that_write_at_once_lose_nothing(handle: int) -> None:
    board = Board(handle, processes=5, number=0)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_count_up, args=(handle, number)) for number in range(1, 5)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    assert {board.count(board.hashed("client", str(turn))) for turn in range(500)} == {4}
    assert len(board.hear()) == 2000
