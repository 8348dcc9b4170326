"""How many connections a client, an account and the world may hold, counted over a node's processes.

Clients that have not logged in are counted by address class, one IPv4 address or one IPv6 /64; a login moves
the connection to its account, so an office behind one address is bounded by its accounts, not by its router.
"""

from __future__ import annotations

import contextlib
import ipaddress
import resource
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from relay.clock import monotonic
from relay.smtp import reply as replies
from relay.smtp.auth import Failures
from relay.smtp.board import Board
from relay.smtp.room import Room

if TYPE_CHECKING:
    from relay.config import Limits
    from relay.smtp.reply import Reply

#: Files that everything but client connections may need: store, upstreams, spilled messages, sockets.
_RESERVED_FILES = 500


@lru_cache(maxsize=4096)
def _address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse; an IPv4 address in IPv6 clothes is IPv4."""
    address = ipaddress.ip_address(ip)
    return (address.version == 6 and address.ipv4_mapped) or address


@lru_cache(maxsize=4096)
def client_class(ip: str) -> str:
    """Return what counts as one client: an IPv4 address or the /64 of an IPv6 one."""
    address = _address(ip)
    if address.version == 6:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _files(wanted: int) -> int:
    """Return for how many connections there are files, after asking for `wanted` in all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    return max(1, soft - min(_RESERVED_FILES, soft // 2))


class Networks:
    """Answers whether an address belongs to any of some networks."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._known = lru_cache(maxsize=1024)(self._look)

    def __contains__(self, ip: object) -> bool:
        """Tell; an IPv4 address in IPv6 clothes counts as IPv4."""
        return bool(self._networks) and self._known(str(ip))

    def _look(self, ip: str) -> bool:
        return any(_address(ip) in network for network in self._networks)


@dataclass(slots=True)
class Slot:
    """One connection's place; `leave` gives it back."""

    client: str
    exempt: bool
    login: str | None = None
    #: what it is counted under
    name: bytes = b""


class Connections:
    """Counts connections and failed logins of this node; `now` is in monotonic seconds."""

    def __init__(self, limits: Limits, board: Board | None = None) -> None:
        """`board` is shared with the node's other processes."""
        self._board = board or Board()
        self.failures = Failures(limits.auth_failures_per_client, self._board)
        #: for messages that do not live in memory while they come in
        self.room = Room(limits.large_messages)
        self.configure(limits)
        self._all = self._board.hashed("all")
        self._open = 0

    def configure(self, limits: Limits) -> None:
        """Take new limits; what is counted stays."""
        self.limits = limits
        self._exempt = Networks(limits.exempt)
        self.room.octets = limits.large_messages
        self.failures.most = limits.auth_failures_per_client
        #: never so many that the process runs out of files
        self.most = min(limits.connections, _files(limits.connections + _RESERVED_FILES))

    @property
    def open(self) -> int:
        """Return how many connections this process has."""
        return self._open

    def enter(self, ip: str, now: float) -> Slot | Reply:
        """Take a place, or say why not."""
        board, limits = self._board, self.limits
        if self._open >= self.most or board.count(self._all) >= limits.connections:
            return replies.TOO_BUSY
        client = client_class(ip)
        name = board.hashed("client", client)
        exempt = ip in self._exempt
        if not exempt:
            if board.count(name) >= limits.connections_per_client:
                return replies.TOO_MANY_CONNECTIONS
            if not board.on_time(name, now, self._interval, 60.0):
                return replies.CONNECTING_TOO_FAST
        self._open += 1
        board.more(self._all, now)
        board.more(name, now)
        return Slot(client, exempt, name=name)

    def log_in(self, slot: Slot, login: str) -> Reply | None:
        """Count the connection with its account from now on; a reply if the account has too many."""
        login = login.lower()
        name = self._board.hashed("account", login)
        if self._board.count(name) >= self.limits.sessions_per_account:
            return replies.TOO_MANY_SESSIONS
        self._board.less(slot.name)
        if not slot.exempt:
            self._board.pay_back(slot.name, self._interval)
        slot.login, slot.name = login, name
        self._board.more(name, monotonic())
        return None

    def leave(self, slot: Slot) -> None:
        """Give the place back; once."""
        self._open -= 1
        self._board.less(self._all)
        self._board.less(slot.name)

    @property
    def _interval(self) -> float:
        return 60.0 / self.limits.connections_per_minute
