"""Connections kept open, per server and credential, with a cap, failover and breakers."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay import clock
from relay.upstream import guard
from relay.upstream.breaker import Breaker
from relay.upstream.client import Lost, UpstreamReply
from relay.upstream.connect import Connector
from relay.upstream.errors import LoginRefused, Unreachable, Unroutable
from relay.upstream.slots import Slots
from relay.upstream.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.config import UpstreamConfig
    from relay.dns import Resolver
    from relay.upstream.client import Connection
    from relay.upstream.route import Connections, Route

#: Pass-through logins tried at one server at the same time.
LOGIN_CHECKS = 5
#: A connection that carried so many messages is replaced (servers hang up at some number of their own).
MESSAGES_PER_CONNECTION = 1000


@dataclass(slots=True)
class _Server:
    """What is known of one customer's server."""

    slots: Slots
    checks: asyncio.Semaphore
    idle: dict[Connections, deque[Connection]] = field(default_factory=dict)
    breakers: dict[str, Breaker] = field(default_factory=dict)

    @property
    def idle_count(self) -> int:
        return sum(len(connections) for connections in self.idle.values())

    def oldest(self) -> Connection | None:
        """Take out the connection that has been idle longest, whoever's it is."""
        key = min(self.idle, key=lambda key: self.idle[key][0].idle_since, default=None)
        return None if key is None else self._take(key, 0)

    def _take(self, key: Connections, index: int) -> Connection:
        queue = self.idle[key]
        connection = queue[index]
        del queue[index]
        if not queue:
            del self.idle[key]
        connection.on_lost = None
        return connection

    def newest(self, key: Connections, client: tuple[str, str]) -> Connection | None:
        """Take out the warmest connection of this credential, best one that this client used before."""
        queue = self.idle.get(key)
        if queue is None:
            return None
        index = len(queue) - 1
        if queue[index].client[0] and queue[index].client != client:
            index = next((i for i, connection in enumerate(queue) if connection.client == client), index)
        return self._take(key, index)

    def remove(self, key: Connections, connection: Connection) -> None:
        queue = self.idle.get(key)
        if queue is not None and connection in queue:
            self._take(key, queue.index(connection))


class Pool:
    """All connections of one process; `transaction` is what the rest of Gatepost uses."""

    def __init__(
        self,
        config: UpstreamConfig,
        hostname: str,
        *,
        resolver: Resolver | None = None,
        ports: frozenset[int] = guard.PORTS,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._reply_seconds = config.reply_timeout.total_seconds()
        self._idle_seconds = config.idle.total_seconds()
        self.connector = Connector(
            hostname,
            config.connect_timeout.total_seconds(),
            self._reply_seconds,
            guard.networks(config.allow_private),
            ports,
        )
        if resolver is not None:
            self.connector.resolver = resolver
        self._servers: dict[str, _Server] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False
        self.opened = 0
        self.reused = 0

    @property
    def reply_seconds(self) -> float:
        """Return how long the answer to a command may take."""
        return self._reply_seconds

    def transaction(
        self,
        route: Route,
        *,
        client_ip: str = "",
        client_helo: str = "",
        login: str = "",
        patient: bool = True,
    ) -> Transaction:
        """Return a transaction; nothing is connected before it is used.

        `login` is whose turn it is when connections are scarce; `patient=False` ignores breakers
        (staff asked for a retry).
        """
        return Transaction(self, route, (client_ip, client_helo), login, patient=patient)

    def _server(self, route: Route) -> _Server:
        server = self._servers.get(route.key)
        if server is None:
            limit = self._config.connections_per_server
            server = _Server(Slots(limit), asyncio.Semaphore(min(limit, LOGIN_CHECKS)))
            self._servers[route.key] = server
        return server

    async def acquire(
        self, route: Route, client: tuple[str, str], login: str, *, fresh: bool = False, patient: bool = True
    ) -> Connection:
        """Return a connection ready for MAIL, with one of the server's slots; Unreachable if there is none.

        `fresh` passes by idle connections: the last one turned out to be dead.
        """
        if self._closed:
            raise Unreachable("shutting down", "4.3.2")
        server = self._server(route)
        await server.slots.take(login, self._reply_seconds)
        try:
            if not fresh:
                connection = await self._reuse(server, route, client)
                if connection is not None:
                    return connection
            if server.slots.busy + server.idle_count > server.slots.limit:
                spare = server.oldest()
                if spare is not None:
                    spare.close()
            return await self._connect(server, route, client, patient=patient)
        except BaseException:
            server.slots.give()
            raise

    async def _reuse(self, server: _Server, route: Route, client: tuple[str, str]) -> Connection | None:
        while (connection := server.newest(route.connections, client)) is not None:
            if not connection.usable:
                continue
            if not client[0] or connection.client == client or "XCLIENT" not in connection.offered:
                self.reused += 1
                return connection
            try:
                await self.connector.introduce(connection, route, client)
            except (Lost, Unreachable):
                connection.drop()
                continue
            except BaseException:
                connection.drop()
                raise
            return connection
        return None

    async def _connect(
        self, server: _Server, route: Route, client: tuple[str, str], *, patient: bool
    ) -> Connection:
        faults: list[Unreachable | Unroutable] = []
        for host in route.hosts:
            breaker = server.breakers.setdefault(host, Breaker())
            if patient and not breaker.allows(self._monotonic()):
                faults.append(Unreachable(f"{host}: left alone after {breaker.failures} failures"))
                continue
            try:
                connection = await self.connector.open(route, host, client)
            except LoginRefused:
                breaker.succeeded()
                raise
            except (Unreachable, Unroutable) as fault:
                breaker.failed(self._monotonic())
                faults.append(fault)
                continue
            except BaseException:
                breaker.gave_up()
                raise
            breaker.succeeded()
            self.opened += 1
            return connection
        if len(faults) == 1:
            raise faults[0]
        if faults and all(isinstance(fault, Unroutable) for fault in faults):
            raise faults[0]
        status = next((fault.status for fault in faults if isinstance(fault, Unreachable)), "4.4.1")
        raise Unreachable("; ".join(str(fault) for fault in faults) or f"{route.key}: has no hosts", status)

    def release(self, route: Route, connection: Connection) -> None:
        """Take a connection back between transactions, and its slot with it."""
        server = self._server(route)
        connection.used += 1
        if self._closed or not connection.usable or connection.used >= MESSAGES_PER_CONNECTION:
            connection.close()
        else:
            self._keep(server, route, connection)
        server.slots.give()

    def _keep(self, server: _Server, route: Route, connection: Connection) -> None:
        connection.idle_since = self._monotonic()
        key = route.connections
        connection.on_lost = lambda: server.remove(key, connection)
        server.idle.setdefault(key, deque()).append(connection)
        if self._reaper is None:
            delay = max(self._idle_seconds / 4, 0.01)
            self._reaper = asyncio.get_running_loop().call_later(delay, self._reap)

    def discard(self, route: Route, connection: Connection) -> None:
        """Close a connection that is not fit for another transaction, and free its slot."""
        connection.drop()
        self._server(route).slots.give()

    def _reap(self) -> None:
        self._reaper = None
        oldest_allowed = self._monotonic() - self._idle_seconds
        left = 0
        for server in self._servers.values():
            while (key := _overdue(server, oldest_allowed)) is not None:
                connection = server.idle[key][0]
                server.remove(key, connection)
                connection.close()
            left += server.idle_count
        if left and not self._closed:
            delay = max(self._idle_seconds / 4, 0.01)
            self._reaper = asyncio.get_running_loop().call_later(delay, self._reap)

    async def check_login(
        self, route: Route, login: str, password: str, client_ip: str = ""
    ) -> UpstreamReply:
        """Try a client's login at the customer's own server and return that server's answer (235 is good).

        Always asks the server: a connection that is already logged in proves nothing about now. At
        most LOGIN_CHECKS at a time for one server. Unreachable when the server could not be asked.
        """
        theirs = route.logged_in_as(login, password)
        server = self._server(route)
        try:
            async with asyncio.timeout(self._reply_seconds):
                await server.checks.acquire()
        except TimeoutError as error:
            raise Unreachable("too many logins are being checked", "4.4.5") from error
        try:
            connection = await self._connect(server, theirs, (client_ip, ""), patient=True)
        except LoginRefused as refused:
            return refused.reply
        finally:
            server.checks.release()
        if server.slots.busy + server.idle_count < server.slots.limit and not self._closed:
            connection.used += 1
            self._keep(server, theirs, connection)  # the client will want it in a moment
        else:
            connection.close()
        return UpstreamReply(235, "2.7.0", "Authentication successful")

    def statistics(self) -> dict[str, Any]:
        """Return counts, for metrics, the console, and tests that wait on facts."""
        now = self._monotonic()
        servers = {
            key: {
                "busy": server.slots.busy,
                "idle": server.idle_count,
                "waiting": server.slots.waiting,
                "broken": [host for host, breaker in server.breakers.items() if breaker.open_until > now],
            }
            for key, server in self._servers.items()
        }
        return {"opened": self.opened, "reused": self.reused, "servers": servers}

    async def close(self) -> None:
        """Say goodbye to all idle connections; those in use close as they are given back."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for server in self._servers.values():
            while (connection := server.oldest()) is not None:
                connection.close()
        await self.connector.resolver.close()


def _overdue(server: _Server, oldest_allowed: float) -> Connections | None:
    return next((key for key, queue in server.idle.items() if queue[0].idle_since <= oldest_allowed), None)
