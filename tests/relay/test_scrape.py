"""One page of numbers out of several processes, of which some die."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from relay import scrape
from relay.events import ConfigReloaded, MessageHandled
from relay.log import Log
from relay.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = 'gatepost_messages_total{action="deliver",outcome="forwarded"}'


def worked(*, messages: int = 0, reload_ok: bool = True) -> Metrics:
    """Return the numbers of a process that handled some messages."""
    metrics = Metrics(Log("error"))
    for _ in range(messages):
        metrics.emit(
            MessageHandled(
                "id", "a@b", "deliver", "forwarded", 1.0, ("r",), "250 2.0.0", 10, 1, stages_ms={"total": 2.0}
            )
        )
    metrics.emit(ConfigReloaded(ok=reload_ok))
    return metrics


def page(folder: Path) -> dict[str, float]:
    text = scrape.add_up([worked().render(), *scrape.published(folder)]).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def lived(folder: Path, number: int, metrics: Metrics) -> None:
    """An edge that leaves its numbers and is killed."""
    task = asyncio.create_task(scrape.publish_forever(folder, number, metrics.render))
    await asyncio.sleep(0)  # it writes before it pauses
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_the_numbers_of_processes_add_up_and_the_worst_reload_counts(tmp_path: Path) -> None:
    scrape.publish(tmp_path / "edge-1.prom", worked(messages=2).render())
    scrape.publish(tmp_path / "edge-2.prom", worked(messages=1, reload_ok=False).render())
    found = page(tmp_path)
    assert found[MESSAGES] == 3
    assert found['gatepost_stage_seconds_count{stage="total"}'] == 3
    assert found["gatepost_config_reload_ok"] == 0


async def test_what_dead_processes_counted_stays_so_that_no_sum_ever_falls(tmp_path: Path) -> None:
    """Prometheus takes a sum that falls for a restart, and counts all that is left once more."""
    for messages in (3, 4):
        await lived(tmp_path, 1, worked(messages=messages))
    await lived(tmp_path, 2, worked(messages=10))
    assert page(tmp_path)[MESSAGES] == 17
    await lived(tmp_path, 1, worked())
    assert page(tmp_path)[MESSAGES] == 17


async def test_of_a_process_that_no_longer_says_anything_only_what_it_counted_is_left(tmp_path: Path) -> None:
    await lived(tmp_path, 1, worked(messages=3, reload_ok=False))
    os.utime(tmp_path / "edge-1.prom", (1, 1))
    found = page(tmp_path)
    assert (found[MESSAGES], found["gatepost_config_reload_ok"]) == (3, 1)


def test_the_deaths_that_the_supervisor_counted_are_on_the_page_until_the_next_start(tmp_path: Path) -> None:
    scrape.publish_deaths(tmp_path, 3)
    scrape.publish(tmp_path / "edge-1.prom", worked(messages=2).render())
    assert page(tmp_path)["gatepost_worker_deaths_total"] == 3
    scrape.forget(tmp_path)
    scrape.forget(tmp_path)
    assert scrape.published(tmp_path) == []
    scrape.publish_deaths(tmp_path / "gone", 4)
