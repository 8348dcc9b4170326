"""`workers = N`: one process that binds, N edge processes that take mail, one control process.

The supervisor binds every socket once and keeps it open, so that a worker that dies costs only its own
sessions: its queue of new connections waits for its successor (one SO_REUSEPORT socket a worker). Workers
are started as `gatepost serve --role …` with their sockets inherited; standard input is their lifeline, so
that none outlives the supervisor.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay import building, clock, scrape, supervision
from relay.binding import address_of, bind
from relay.errors import RelayError
from relay.log import Log

if TYPE_CHECKING:
    from pathlib import Path

    from relay.config import Config

EDGE_LISTENERS = ("submission", "submissions")
CONTROL_LISTENERS = ("feedback", "http")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
#: A worker that lived this long starts again without a pause.
HEALTHY_SECONDS = 30.0
STOP_SECONDS = 40.0
#: On a crowded machine a start takes its time; to give up then would turn a slow minute into an outage.
READY_SECONDS = 180.0


@dataclass
class Worker:
    """One child: its role, the sockets that it inherits, and the process that runs now."""

    role: str
    number: int
    sockets: dict[str, socket.socket]
    process: asyncio.subprocess.Process | None = None
    #: it has accepted, once at least
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    #: the process that runs now accepts; before that a SIGHUP would end it
    accepts: bool = False
    #: there was a SIGHUP while it started: it may have read the configuration before
    reload_due: bool = False


def edge_count(config: Config) -> int:
    """Return how many edge processes a configuration asks for."""
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers


class Supervisor:
    """Keeps the workers running until it is told to stop."""

    def __init__(self, path: Path, config: Config) -> None:
        self._path = path
        self._config = config
        self._log = Log(config.log_level)
        self._stopping = asyncio.Event()
        self._workers: list[Worker] = []
        #: what the workers tell each other about clients (relay.smtp.board)
        self._board = os.memfd_create("gatepost-board")
        self._deaths = 0

    def bind_all(self) -> dict[str, socket.socket]:
        """Bind every listener; RelayError if one cannot be had. Returns one socket of each."""
        listeners = self._config.listeners
        count = edge_count(self._config)
        edges: list[dict[str, socket.socket]] = [{} for _ in range(count)]
        control: dict[str, socket.socket] = {}
        for name in EDGE_LISTENERS:
            address = getattr(listeners, name)
            for edge in edges if address else ():
                edge[name] = bind(address, shared=True)
                address = address_of(edge[name])  # port 0 was chosen by the first
        for name in CONTROL_LISTENERS:
            if address := getattr(listeners, name):
                control[name] = bind(address)
        self._workers = [Worker("control", 0, control)]
        self._workers += [Worker("edge", number, sockets) for number, sockets in enumerate(edges, 1)]
        return {**edges[0], **control}

    async def run(self) -> int:
        """Start all workers, print `ready` when all accept, restart what dies; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        bound = self.bind_all()
        scrape.forget(building.run_folder(self._config))
        self._publish()
        async with asyncio.TaskGroup() as tasks:
            keepers = [tasks.create_task(self._keep(worker)) for worker in self._workers]
            waits = tasks.create_task(self._all_ready())
            stopped = tasks.create_task(self._stopping.wait())
            alive = tasks.create_task(supervision.keep_telling())
            await asyncio.wait(
                [asyncio.ensure_future(waits), stopped],
                timeout=READY_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if waits.done():
                listeners = {name: address_of(listening) for name, listening in bound.items()}
                sys.stdout.write(json.dumps({"event": "ready", "listeners": listeners}) + "\n")
                sys.stdout.flush()
                supervision.tell(supervision.READY)
                await stopped
            else:
                waits.cancel()
                self._stopping.set()
            supervision.tell(supervision.STOPPING)
            for worker in self._workers:
                _signal(worker, signal.SIGTERM)
            await asyncio.wait(keepers, timeout=STOP_SECONDS)
            alive.cancel()
            for worker in self._workers:
                if worker.process is not None and worker.process.returncode is None:
                    worker.process.kill()
        return 0 if all(worker.ready.is_set() for worker in self._workers) else 1

    async def _all_ready(self) -> None:
        for worker in self._workers:
            await worker.ready.wait()

    def _reload(self) -> None:
        """Let the workers read the configuration again; each says for itself whether it took it."""
        supervision.tell(supervision.reloading())
        for worker in self._workers:
            worker.reload_due = not worker.accepts
            if worker.accepts:
                _signal(worker, signal.SIGHUP)
        supervision.tell(supervision.READY)

    def _publish(self) -> None:
        scrape.publish_deaths(building.run_folder(self._config), self._deaths)

    async def _keep(self, worker: Worker) -> None:
        """Run one worker again and again, with a growing pause while it dies young."""
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started, worker.process = clock.monotonic(), None
            try:
                await self._run_once(worker)
            except OSError as error:  # no memory or no files for a process just now: the others go on
                self._log.line(
                    "error",
                    {"event": "worker_not_started", "worker": _name(worker), "error": error.strerror or ""},
                )
            worker.accepts = False
            if self._stopping.is_set():
                return
            lived = clock.monotonic() - started
            pause = FIRST_PAUSE_SECONDS if lived > HEALTHY_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            self._deaths += 1
            self._publish()
            code = worker.process.returncode if worker.process else None
            self._log.line("error", {"event": "worker_died", "worker": _name(worker), "code": code})
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _run_once(self, worker: Worker) -> None:
        sockets = {name: listening.fileno() for name, listening in worker.sockets.items()}
        worker.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "-c", str(self._path), "serve",
            "--role", worker.role, "--number", str(worker.number), "--sockets", json.dumps(sockets),
            "--board", str(self._board), "--processes", str(len(self._workers)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._board, *sockets.values()),
        )  # fmt: skip
        assert worker.process.stdout is not None  # noqa: S101 - it is a pipe
        if self._stopping.is_set():  # told while it was being started: nobody tells it again
            _signal(worker, signal.SIGTERM)
        if await worker.process.stdout.readline():
            worker.ready.set()
            worker.accepts = True
            if worker.reload_due:
                worker.reload_due = False
                _signal(worker, signal.SIGHUP)
        await worker.process.wait()


def _signal(worker: Worker, number: signal.Signals) -> None:
    if worker.process is not None and worker.process.returncode is None:
        worker.process.send_signal(number)


def _name(worker: Worker) -> str:
    return f"{worker.role} {worker.number}"


def run(path: Path, config: Config) -> int:
    """Supervise until told to stop; the exit code."""
    try:
        return asyncio.run(Supervisor(path, config).run())
    except* RelayError as group:
        raise group.exceptions[0] from None
