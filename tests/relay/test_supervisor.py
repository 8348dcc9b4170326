"""Workers whose start goes wrong, or that are told something while they start."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from relay import supervisor
from relay.config import Config
from relay.supervisor import Supervisor, Worker
from tests.relay.upstream.fake import until

if TYPE_CHECKING:
    from pathlib import Path


class Child:
    """A process that says and lives as a test wants it."""

    def __init__(self) -> None:
        self.stdout = asyncio.StreamReader()
        self.returncode: int | None = None
        self.signals: list[signal.Signals] = []
        self.ended = asyncio.Event()

    def send_signal(self, number: signal.Signals) -> None:
        self.signals.append(number)

    async def wait(self) -> None:
        await self.ended.wait()
        self.returncode = 0


@pytest.fixture
def above(tmp_path: Path) -> Supervisor:
    (tmp_path / "run").mkdir()
    made = Supervisor(
        tmp_path / "gatepost.toml", Config.model_validate({"hostname": "x.example", "folder": tmp_path})
    )
    made._workers = [Worker("edge", 1, {})]
    return made


async def test_a_worker_that_cannot_be_started_just_now_ends_nobody_else(
    above: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fork fails where memory or files run short: the supervisor's end would close every door."""
    tries: list[int] = []

    async def no_room(*_: Any, **__: Any) -> None:
        tries.append(1)
        if len(tries) == 3:
            above._stopping.set()
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_room)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.001)
    await above._keep(above._workers[0])
    assert len(tries) == 3
    assert above._deaths == 2


async def test_a_reload_waits_until_a_worker_accepts(
    above: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has its handler SIGHUP ends a process; and it may have read the old file already."""
    child, (worker,) = Child(), above._workers

    async def start(*_: Any, **__: Any) -> Child:
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    task = asyncio.create_task(above._run_once(worker))
    await until(lambda: worker.process is not None)
    above._reload()
    assert child.signals == []
    child.stdout.feed_data(b'{"event": "ready"}\n')
    await worker.ready.wait()
    assert child.signals == [signal.SIGHUP]
    above._reload()
    assert child.signals == [signal.SIGHUP] * 2
    child.ended.set()
    await task


async def test_a_worker_that_is_being_started_hears_of_the_end(
    above: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, (worker,) = Child(), above._workers

    async def start(*_: Any, **__: Any) -> Child:
        above._stopping.set()
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    child.ended.set()
    child.stdout.feed_eof()
    await above._run_once(worker)
    assert child.signals == [signal.SIGTERM]
