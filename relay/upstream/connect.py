"""From a route to a connection that is ready for MAIL: names, addresses, greeting, TLS, AUTH."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.dns import Found, Resolver, Target
from relay.model import Tls
from relay.upstream import guard, wire
from relay.upstream.client import Connection, Lost, authenticate, hello, tls_context, tls_fault, xclient
from relay.upstream.errors import LoginRefused, Unreachable, Unroutable, Unverified
from relay.values import split_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from relay.upstream.route import Route

MX_HOSTS = 5
ADDRESSES = 6


@dataclass(frozen=True, slots=True)
class Place:
    """One address to connect to; `name` is what its certificate must say."""

    name: str
    ip: str
    port: int

    def __str__(self) -> str:
        """Return name, address and port, for staff."""
        where = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{self.name} ({where}:{self.port})"


async def system_addresses(name: str) -> list[str]:
    """Return a name's addresses as the system sees them (hosts file, then DNS); OSError if it has none."""
    rows = await asyncio.get_running_loop().getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


@dataclass(slots=True)
class Connector:
    """Opens connections; one for a pool."""

    hostname: str
    connect_seconds: float
    reply_seconds: float
    allowed: Sequence[guard.Network] = ()
    ports: frozenset[int] = guard.PORTS
    resolver: Resolver = field(default_factory=Resolver)
    addresses: Callable[[str], Awaitable[list[str]]] = system_addresses
    _contexts: dict[bool, ssl.SSLContext] = field(default_factory=dict)
    #: look-ups under way, by name: the system's block a thread each, and there are few
    _asked: dict[str, asyncio.Task[list[str]]] = field(default_factory=dict)

    async def open(self, route: Route, host: str, client: tuple[str, str]) -> Connection:
        """Return a connection, logged in and introduced, to the first address of `host` that answers.

        Unreachable, Unverified, LoginRefused or Unroutable say why there is none.
        """
        faults: list[Unreachable] = []
        for place in await self.places(route, host):
            try:
                return await self._open(route, place, client)
            except LoginRefused:
                raise
            except Unreachable as fault:
                faults.append(fault)
        raise faults[-1]

    async def _open(self, route: Route, place: Place, client: tuple[str, str]) -> Connection:
        connection = await self.dial(route, place)
        try:
            await self.prepare(connection, route)
            await self.introduce(connection, route, client)
        except Lost as lost:
            raise Unreachable(f"{place}: {lost}", "4.4.2") from lost
        except BaseException:
            connection.drop()
            raise
        return connection

    # names and addresses

    async def places(self, route: Route, host: str) -> list[Place]:
        """Resolve once; what is returned is what will be connected to. Never empty.

        Of several servers those without an address are passed by (RFC 5321 §5.1).
        """
        try:
            async with asyncio.timeout(self.connect_seconds):
                targets = await self._targets(host)
        except TimeoutError as error:
            raise Unreachable(f"{host}: no answer from DNS", "4.4.3") from error
        asked = await asyncio.gather(*(self._addresses(one.host, one.port) for one in targets))
        found = [place for places in asked if not isinstance(places, Unreachable) for place in places]
        dead = [one for one in asked if isinstance(one, Unreachable)]
        if dead and not found:
            raise dead[0]
        if host.startswith("mx:") and any(ipaddress.ip_address(place.ip).is_loopback for place in found):
            raise Unroutable(f"{host}: its MX leads back to us", "5.4.6")
        if not route.trusted_hosts:
            for place in found:
                fault = guard.port_fault(place.port, allowed=self.ports) or guard.address_fault(
                    place.ip, self.allowed
                )
                if fault:
                    raise Unreachable(f"{host}: refused, {fault}", "4.4.1")
        if not found:
            raise Unreachable(f"{host}: has no address", "4.4.3")
        return found[:ADDRESSES]

    async def _targets(self, host: str) -> Sequence[Target]:
        kind, separator, rest = host.partition(":")
        if not separator or kind not in ("mx", "srv") or ":" not in rest:
            name, port = split_address(host)
            return [Target(0, 0, name, port)]
        name, port = split_address(rest)
        found, targets = await (self.resolver.mx(name) if kind == "mx" else self.resolver.srv(name))
        if found is Found.FAILED:
            raise Unreachable(f"{host}: no answer from DNS", "4.4.3")
        if found is Found.NO:
            raise Unroutable(f"{host}: the domain does not exist", "5.1.2")
        if any(not target.host for target in targets):
            raise Unroutable(f"{host}: takes no mail (RFC 7505)", "5.1.10")
        if kind == "srv":
            return targets[:MX_HOSTS]
        targets = targets or (Target(0, 0, name, port),)
        if any(target.host.lower() in ("localhost", self.hostname.lower()) for target in targets):
            raise Unroutable(f"{host}: its MX leads back to us", "5.4.6")
        return [Target(t.preference, t.weight, t.host, port or t.port) for t in targets[:MX_HOSTS]]

    async def _addresses(self, name: str, port: int) -> list[Place] | Unreachable:
        """Return the places of one server, or why there are none."""
        with suppress(ValueError):
            return [Place(name, str(ipaddress.ip_address(name)), port)]
        try:
            async with asyncio.timeout(self.connect_seconds):
                return [Place(name, ip, port) for ip in await self._look_up(name)]
        except TimeoutError:
            return Unreachable(f"{name}: no answer from DNS", "4.4.3")
        except (OSError, UnicodeError):
            return Unreachable(f"{name}: has no address", "4.4.3")

    async def _look_up(self, name: str) -> list[str]:
        """Ask once for all who want the same name now, so that one dead name takes no thread but one."""
        asked = self._asked.get(name)
        if asked is None:
            asked = asyncio.ensure_future(self.addresses(name))
            self._asked[name] = asked

            def ended(done: asyncio.Task[list[str]]) -> None:
                del self._asked[name]
                if not done.cancelled():
                    done.exception()  # who still waits has heard of it

            asked.add_done_callback(ended)
        return await asyncio.shield(asked)

    # the connection itself

    async def dial(self, route: Route, place: Place) -> Connection:
        """Connect, with TLS from the first byte where the route says so; the greeting is not yet read."""
        loop = asyncio.get_running_loop()
        context = self._context(route) if route.tls is Tls.IMPLICIT else None
        try:
            async with asyncio.timeout(self.connect_seconds):
                transport, connection = await loop.create_connection(
                    lambda: Connection(str(place), self.reply_seconds),
                    place.ip,
                    place.port,
                    ssl=context,
                    server_hostname=place.name if context else None,
                )
        except ssl.SSLError as error:
            raise Unverified(f"{place}: TLS failed: {tls_fault(error)}") from error
        except (OSError, TimeoutError) as error:
            raise Unreachable(
                f"{place}: {getattr(error, 'strerror', None) or 'no connection in time'}"
            ) from error
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.note_tls()
        if not route.trusted_hosts and not _same(connection.peer_ip, place.ip):
            connection.drop()
            raise Unreachable(f"{place}: connected to another address than was checked")
        return connection

    def _context(self, route: Route) -> ssl.SSLContext:
        if route.verify not in self._contexts:
            self._contexts[route.verify] = tls_context(verify=route.verify)
        return self._contexts[route.verify]

    async def prepare(self, connection: Connection, route: Route) -> None:
        """Read the greeting, say EHLO, and change to TLS where the route says STARTTLS."""
        reply = (await connection.greeting)[0]
        if reply.code != 220:
            raise Unreachable(f"{connection.name}: greeted with {reply.code}", "4.3.2")
        await hello(connection, self.hostname, self.reply_seconds)
        if route.tls is not Tls.STARTTLS:
            return
        if "STARTTLS" not in connection.offered:
            raise Unverified(f"{connection.name}: does not offer STARTTLS")
        reply = await connection.command(b"STARTTLS\r\n", self.reply_seconds)
        if reply.code != 220:
            raise Unverified(f"{connection.name}: answered {reply.code} to STARTTLS")
        name = connection.name.partition(" ")[0]
        await connection.start_tls(self._context(route), name, self.connect_seconds)
        await hello(connection, self.hostname, self.reply_seconds)

    async def introduce(self, connection: Connection, route: Route, client: tuple[str, str]) -> None:
        """Tell who the client is (XCLIENT) and log in; also for a pooled connection with a new client."""
        again = await xclient(connection, client, self.reply_seconds)
        if again:
            await hello(connection, self.hostname, self.reply_seconds)
        if not route.login or (connection.used and not again):
            return
        try:
            reply = await authenticate(connection, route.login, route.password, self.reply_seconds)
        except wire.Unsendable as error:
            raise LoginRefused(f"{connection.name}: {error}", error.reply) from error
        if reply.code != 235:
            raise LoginRefused(f"{connection.name}: answered {reply.code} to AUTH", reply)


def _same(one: str, other: str) -> bool:
    try:
        return guard.inner(ipaddress.ip_address(one.partition("%")[0])) == guard.inner(
            ipaddress.ip_address(other)
        )
    except ValueError:
        return False
