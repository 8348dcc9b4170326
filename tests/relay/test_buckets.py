from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from policies.rates import Limit, Take
from relay import buckets
from relay.buckets import Buckets, Want, key_of

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEN = Limit(10, timedelta(hours=1), "messages")


def want(number: int = 1, limit: Limit = TEN) -> Want:
    return Want(key_of("messages", number), limit)


def test_all_levels_give_or_none_does(tmp_path: Path) -> None:
    table = Buckets(tmp_path / "rates")
    assert table.shared
    account, server = want(1), want(2, Limit(3, timedelta(hours=1), "server"))
    for _ in range(3):
        assert table.take([account, server], NOW)[0].action is Take.TAKEN
    decision, blamed, used = table.take([account, server], NOW)
    assert (decision.action, blamed) == (Take.LATER, server)
    assert used == [0.3, 1.0]
    assert table.used(account, NOW) == 0.3
    table.give_back([account, server], NOW)
    assert table.take([account, server], NOW)[0].action is Take.TAKEN
    table.close()
    table.close()


def test_what_was_taken_outlives_the_process_and_ends_by_itself(tmp_path: Path) -> None:
    first = Buckets(tmp_path / "rates")
    first.take([want()], NOW, 10)
    first.close()
    again = Buckets(tmp_path / "rates")
    assert again.take([want()], NOW)[0].action is Take.LATER
    assert again.take([want()], NOW + timedelta(hours=1))[0].action is Take.TAKEN


def _take_many(path: Path, taken: Queue[int]) -> None:
    table = Buckets(path)
    limit = want(limit=Limit(500, timedelta(days=1), "messages"))
    taken.put(sum(table.take([limit], NOW)[0].action is Take.TAKEN for _ in range(400)))


def test_processes_share_one_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken: Queue[int] = context.Queue()
    workers = [context.Process(target=_take_many, args=(tmp_path / "rates", taken)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert sum(taken.get(timeout=15) for _ in workers) == 500
    for worker in workers:
        worker.join(15)


def test_without_a_file_a_process_limits_alone(tmp_path: Path) -> None:
    for table in (Buckets(), Buckets(tmp_path / "no folder" / "rates")):
        assert not table.shared
        assert table.take([want()], NOW, 10)[0].action is Take.TAKEN
        assert table.take([want()], NOW)[0].action is Take.LATER


def test_a_full_group_makes_room_for_who_is_nearest_to_its_end() -> None:
    table = Buckets()
    groups = buckets.SLOTS // 16
    same = [Want(1 + groups * number, TEN) for number in range(17)]
    for number, one in enumerate(same[:16]):
        assert table.take([one], NOW, 1 + number % 9)[0].action is Take.TAKEN
    assert table.take([same[16]], NOW)[0].action is Take.TAKEN
    assert table.used(same[0], NOW) == 0.0  # forgotten: it had taken least
    assert table.used(same[8], NOW) == 0.9
