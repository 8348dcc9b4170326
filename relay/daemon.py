"""The composition root: the only place that constructs the parts and joins them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from relay import building, clock, collector, scrape, screens, supervision, sweep
from relay import config as configuration
from relay.authentication import Authentication
from relay.binding import address_of, bind
from relay.dns import Resolver
from relay.errors import ConfigError, Fault, RelayError, StoreError
from relay.events import Cautioned, ConfigReloaded, Lifecycle
from relay.feedback.intake import FeedbackDoor, Intake
from relay.feedback.returned import Returning
from relay.forwarding import Forwarder
from relay.gate import Gate
from relay.keyring import Keyring
from relay.log import Log, take_records
from relay.metrics import Metrics
from relay.noticing import Noticer, tell_forever
from relay.outbox.queue import Outbox
from relay.pipeline import Pipeline
from relay.routes import Routes
from relay.signing import keys as signing_keys
from relay.signing.returns import Returns
from relay.smtp.connections import Connections
from relay.smtp.listener import Event, Listener
from relay.smtp.tls import Certificate
from relay.store import changes, hint
from relay.store.directory import Directory
from relay.store.engine import Store
from relay.submission import SubmissionDoor
from relay.sweep import SwitchWatch
from relay.upstream.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from relay.config import Config
    from relay.console.desk import Desk
    from relay.console.server import Http
    from relay.smtp.board import Board

DRAIN_SECONDS = 30
LOAD_AGAIN_SECONDS = 1.0
#: What was handed out when the process started, and is not taken back.
NEED_RESTART = (
    "hostname", "workers", "loop", "store", "keys", "listeners", "tls", "auth", "upstream", "outbox",
    "console", "dns",
)  # fmt: skip


@dataclass(slots=True)
class Parts:
    """Everything a process is made of."""

    config: Config
    keyring: Keyring
    store: Store
    metrics: Metrics
    directory: Directory
    customers: signing_keys.Customers
    routes: Routes
    outbox: Outbox
    pool: Pool
    pipeline: Pipeline
    gate: Gate
    switches: SwitchWatch
    submission: SubmissionDoor
    intake: Intake
    feedback: FeedbackDoor
    certificate: Certificate
    noticer: Noticer
    resolver: Resolver


def compose(config: Config) -> Parts:
    """Construct and join the parts; ConfigError if the configuration cannot be used."""
    keyring = Keyring.load(config.path(config.keys.master))
    metrics = Metrics(Log(config.log_level))
    store = Store(config.store.url, config.folder)
    store.migrate()
    directory = Directory(store)
    customers = signing_keys.Customers(config, store)
    customers.load()
    pool = Pool(config.upstream, config.hostname)
    routes = Routes(config)
    outbox = Outbox(config, store, keyring, pool, routes, metrics)
    stamper = building.stamper(config, keyring, customers)
    resolver = Resolver(servers=config.dns.servers)
    screen = screens.serving_screen(config, building.scanners(config, resolver, metrics))
    pipeline = Pipeline(
        config, screen, stamper, store, keyring, Forwarder(outbox, metrics, Returns(config, keyring))
    )
    outbox.deliverer.rescreen, outbox.deliverer.return_path = (
        pipeline.rescreen, pipeline.forwarder.returns.of
    )  # fmt: skip
    switches = SwitchWatch(store, metrics)
    gate = building.gate(config, directory, pipeline, switches)
    outbox.deliverer.braked = switches.braked
    pipeline.familiar.load()
    authentication = Authentication(config.auth, directory, pool, routes, store, keyring, metrics)
    authentication.load()
    intake = Intake(config, store, keyring, building.ladder(config), metrics)
    intake.policy = gate.policy
    intake.returning = Returning(store, outbox, intake.returns)
    return Parts(
        config=config,
        keyring=keyring,
        store=store,
        metrics=metrics,
        directory=directory,
        customers=customers,
        routes=routes,
        outbox=outbox,
        pool=pool,
        pipeline=pipeline,
        gate=gate,
        switches=switches,
        submission=SubmissionDoor(config, directory, authentication, pipeline, gate),
        intake=intake,
        feedback=FeedbackDoor(config, intake),
        certificate=building.certificate(config),
        noticer=Noticer(config, store, pool, keyring),
        resolver=resolver,
    )


@dataclass(frozen=True, slots=True)
class Role:
    """What this process does: everything, or (`number` > 0) one edge, or the control of several edges."""

    control: bool = True
    number: int = 0
    #: standard input is the supervisor's; its end is ours
    supervised: bool = False
    #: shared with the node's other processes
    board: Board | None = None


class Daemon:
    """One process: its listeners, its background work, and how it reloads and stops."""

    def __init__(self, path: Path, parts: Parts, role: Role) -> None:
        self.path = path
        self.parts = parts
        self.role = role
        self.listeners: list[Listener] = []
        self._stop = asyncio.Event()
        self._http: Http | None = None
        self._desk: Desk | None = None
        self._loads: set[asyncio.Task[None]] = set()

    async def serve(self, sockets: dict[str, socket.socket]) -> None:
        """Run until SIGTERM or SIGINT; every listener accepts before `ready` is printed."""
        parts, loop = self.parts, asyncio.get_running_loop()
        take_records(parts.metrics.log)
        parts.metrics.log.flush_soon = lambda flush: loop.call_later(0.05, flush)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        parts.directory.listen(self._heard)
        parts.directory.listen(parts.outbox.heard)
        shared = Connections(parts.config.limits, self.role.board)
        for name, listening in sockets.items():
            if name == "http":
                continue
            door: Any = parts.feedback if name == "feedback" else parts.submission
            listener = Listener(
                door, name, parts.config, parts.certificate,
                shared=shared, implicit=name == "submissions", events=self._note,
            )  # fmt: skip
            await listener.start(listening)
            self.listeners.append(listener)
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(work) for work in self._background()]
            delivering = [tasks.create_task(parts.outbox.run())] if self.role.control else []
            if "http" in sockets:
                self._http = self._http_server()
                background.append(tasks.create_task(self._http.serve(sockets=[sockets["http"]])))
                await self._http.accepting.wait()
            collector.spare()
            self._say_ready(sockets)
            await self._stop.wait()
            await self._drain(delivering)
            for task in background:
                task.cancel()
        await parts.pool.close()
        await parts.resolver.close()
        parts.store.close()
        parts.metrics.emit(Lifecycle("stopped"))
        parts.metrics.log.flush()

    def _background(self) -> Iterator[Coroutine[Any, Any, None]]:
        parts = self.parts
        yield parts.directory.watch()
        yield hint.listen_forever(parts.store, parts.directory.hint)
        yield parts.switches.watch_forever(tell=self.role.control)
        yield parts.outbox.doubts.watch()
        yield sweep.learn_forever(parts.pipeline, parts.metrics)
        if self.role.control:
            yield sweep.decide_forever(parts.intake, parts.metrics)
            yield tell_forever(lambda: parts.noticer, parts.metrics)
            yield sweep.purge_forever(parts.store, lambda: parts.config, parts.metrics)
            yield sweep.look_forever(lambda: parts.config, parts.metrics)
            yield sweep.study_forever(lambda: parts.config, parts.metrics)
        else:
            folder = building.run_folder(parts.config)
            yield scrape.publish_forever(folder, self.role.number, parts.metrics.render)
        if self.role.supervised:
            yield supervision.end_with_supervisor(self._stop)
        else:
            yield supervision.keep_telling()

    def _render(self) -> bytes:
        """Return the numbers of this process and of the edges that it controls."""
        return scrape.add_up(
            [self.parts.metrics.render(), *scrape.published(building.run_folder(self.parts.config))]
        )

    def _heard(self, heard: Sequence[changes.Change]) -> None:
        """Forget suppressions that changed, and read the customers' keys again; files, so off the loop."""
        self.parts.submission.recipients.heard(heard)
        self.parts.pipeline.familiar.heard(heard)
        kinds, now_us = {change.kind for change in heard}, clock.micros(clock.now())
        for change in heard:
            if change.kind in changes.STANDINGS:
                self.parts.metrics.propagation.observe(max(now_us - change.at_us, 0) / 1e6)
        if changes.SWITCH in kinds:
            self._load(self.parts.switches.read)
        if changes.CAMPAIGN in kinds:
            self._load(self.parts.pipeline.familiar.load)
        if changes.DKIM in kinds:
            self._load(self.parts.customers.load)
        if kinds & {changes.SERVER, changes.CUSTOMER}:
            self._load(self.parts.submission.authentication.load)

    def _load(self, load: Callable[[], None]) -> None:
        """Read something from the store in a thread, again and again until the store gives it."""

        async def until_read() -> None:
            while not self._stop.is_set():
                try:
                    await asyncio.to_thread(load)
                except StoreError:
                    await asyncio.sleep(LOAD_AGAIN_SECONDS)
                    continue
                except Exception as error:  # noqa: BLE001 - what was read before stays
                    self.parts.metrics.bug("load", error)
                return

        task = asyncio.get_running_loop().create_task(until_read())
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)

    def _note(self, event: Event, listener: str) -> None:
        if event is Event.CONNECTED:
            self.parts.metrics.sessions.labels(listener).inc()
        elif event is Event.DISCONNECTED:
            self.parts.metrics.sessions.labels(listener).dec()
        elif event is Event.BUG:
            self.parts.metrics.bugs.inc()

    def _say_ready(self, sockets: dict[str, socket.socket]) -> None:
        listeners = {name: address_of(listening) for name, listening in sockets.items()}
        sys.stdout.write(json.dumps({"event": "ready", "listeners": listeners}) + "\n")
        sys.stdout.flush()
        self._tell(supervision.READY)
        self.parts.metrics.emit(Lifecycle("ready"))
        self._caution()

    def _http_server(self) -> Http:
        # imported here: the web framework costs each edge of a node half a second and 40 MB
        from relay.console import app as console
        from relay.console import server

        parts = self.parts
        app = console.create(
            parts.store,
            parts.directory,
            parts.config,
            keyring=parts.keyring,
            metrics=self._render,
            ready=self.ready,
            now=clock.now,
            emit=parts.metrics.emit,
            intake=parts.intake,
        )
        self._desk = app.state.desk
        return server.Http(server.settings(app))

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether mail can be taken, and each part's health."""
        outbox, draining = self.parts.outbox, self._stop.is_set()
        facts = {"store": outbox.store.healthy, "spool": outbox.spool.healthy, "draining": draining}
        return outbox.healthy and not draining, facts

    def _tell(self, state: str) -> None:
        if not self.role.supervised:  # of several processes the supervisor tells systemd
            supervision.tell(state)

    async def _drain(self, delivering: list[asyncio.Task[None]]) -> None:
        self._tell(supervision.STOPPING)
        self.parts.metrics.emit(Lifecycle("draining"))
        for task in delivering:  # ends what is under way while the sessions do: nobody waits for both
            task.cancel()
        await asyncio.gather(*(listener.drain(DRAIN_SECONDS) for listener in self.listeners))
        await asyncio.gather(*delivering, return_exceptions=True)
        if self._http:
            self._http.should_exit = True

    def reload(self) -> None:
        """Read the configuration again; whatever is wrong with it, the old one stays, whole."""
        self._tell(supervision.reloading())
        self._take(self.path)
        self._tell(supervision.READY)

    def _take(self, path: Path) -> None:
        parts = self.parts
        try:
            config = configuration.load(path)
            changed = [name for name in NEED_RESTART if getattr(config, name) != getattr(parts.config, name)]
            if changed:
                raise ConfigError(
                    [Fault(name, "changed", "needs a restart; nothing was reloaded") for name in changed]
                )
            policy, country = building.transmission(config), building.countries(config)
            screen, stamp, steps = (
                screens.serving_screen(config, building.scanners(config, parts.resolver, parts.metrics)),
                building.stamper(config, parts.keyring, parts.customers),
                building.ladder(config),
            )
            noticer = Noticer(config, parts.store, parts.pool, parts.keyring)
            building.certificate(config)
            parts.keyring.renew(config.path(config.keys.master))
        except RelayError as error:
            faults = error.faults if isinstance(error, ConfigError) else [error]
            parts.metrics.emit(ConfigReloaded(ok=False, faults=tuple(str(fault) for fault in faults)))
            return
        parts.config = parts.pipeline.config = config
        parts.gate.configure(config, policy)
        parts.intake.policy, parts.pipeline.country = policy, country
        parts.pipeline.conduct.transmission, parts.pipeline.conduct.config = policy, config
        parts.submission.configure(config)
        parts.feedback.configure(config)
        parts.intake.configure(config)
        parts.pipeline.forwarder.returns.configure(config)
        parts.noticer = noticer
        if self._desk is not None:
            self._desk.config = config
        parts.routes.configure(config)
        parts.pipeline.screen, parts.pipeline.stamper, parts.intake.ladder = screen, stamp, steps
        parts.certificate.reload()
        parts.metrics.log.level = config.log_level
        for listener in self.listeners:
            listener.configure(config)
        parts.metrics.emit(ConfigReloaded(ok=True))
        self._caution()

    def _caution(self) -> None:
        for line in building.cautions(self.parts.config):
            self.parts.metrics.emit(Cautioned(line))


def run(path: Path, config: Config) -> int:
    """Serve in this process alone until told to stop; the exit code."""
    names = ("submission", "submissions", "feedback", "http")
    sockets = {name: bind(address) for name in names if (address := getattr(config.listeners, name))}
    scrape.forget(config.path(Path("run")))
    try:
        return run_with(path, config, sockets, Role())
    except (ConfigError, StoreError):
        for listening in sockets.values():
            listening.close()
        building.examine(config)  # the operator wants every fault at once, not the first alone
        raise


def run_with(path: Path, config: Config, sockets: dict[str, socket.socket], role: Role) -> int:
    """Serve on sockets that are bound already; the exit code."""
    factory: Callable[[], asyncio.AbstractEventLoop] = (
        uvloop.new_event_loop if config.loop == "uvloop" else asyncio.new_event_loop
    )
    with asyncio.Runner(loop_factory=factory) as runner:

        async def main() -> None:
            await Daemon(path, compose(config), role).serve(sockets)

        runner.run(main())
    return 0
