"""A door of Gatepost that is open on a socket.

    certificate = Certificate(config.path(config.tls.certificate), config.path(config.tls.key))
    shared = Connections(config.limits)                      # one per process, for all its listeners
    submission = Listener(door, "submission", config, certificate, shared=shared)
    submissions = Listener(door, "submissions", config, certificate, shared=shared, implicit=True)
    feedback = Listener(feedback_door, "feedback", config, certificate, shared=shared)
    server = await submission.start(sock)                    # a bound TCP socket; asyncio.Server
    ...
    await asyncio.gather(*(each.drain(30.0) for each in (submission, submissions, feedback)))

Construct inside the running loop or not; `start` takes the loop that runs then. AUTH is offered where
`door.needs_login` is true, and only under TLS. `certificate` may be None: then there is no STARTTLS (and no
AUTH). `events`, called with an `Event` and the listener's name, is for metrics.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.smtp.connections import Networks
from relay.smtp.memory import keep_tls_buffers_small
from relay.smtp.server import SmtpServer
from relay.smtp.session import Event

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from relay.config import Config
    from relay.smtp.connections import Connections
    from relay.smtp.session import Door
    from relay.smtp.tls import Certificate
    from relay.smtp.wire import Wire

__all__ = ["Event", "Listener", "Settings"]

BACKLOG = 1024
#: What a session may still take when it is cut off.
_ABORTED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What one listener needs of the configuration, in the units that the loop counts in."""

    hostname: str
    message_octets: int
    recipients: int
    auth_failures: int
    errors_soft: int
    errors_hard: int
    junk: int
    received: int
    command_seconds: float
    greeting_seconds: float
    tls_seconds: float
    data_seconds: float
    data_rate: int
    #: where large messages lie while they come in; None: the system's temporary folder
    spill_folder: Path | None

    @classmethod
    def of(cls, config: Config, name: str) -> Settings:
        """Read the configuration; reports are smaller than messages."""
        limits = config.limits
        spool = config.path(config.outbox.folder)
        return cls(
            config.hostname,
            config.feedback.message_size if name == "feedback" else limits.message_size,
            limits.recipients,
            limits.auth_failures_per_session,
            limits.errors_soft,
            limits.errors_hard,
            limits.junk_commands,
            limits.received_headers,
            limits.command_timeout.total_seconds(),
            limits.greeting_timeout.total_seconds(),
            limits.tls_timeout.total_seconds(),
            limits.data_timeout.total_seconds(),
            limits.data_bytes_per_second,
            spool if spool.is_dir() else None,
        )


def _nothing(event: Event, listener: str) -> None:
    """Count nothing."""


class Listener:
    """Everything that the connections of one door share; see the module's text."""

    def __init__(  # noqa: PLR0913 - what a door is made of
        self,
        door: Door,
        name: str,
        config: Config,
        certificate: Certificate | None,
        *,
        shared: Connections,
        implicit: bool = False,
        events: Callable[[Event, str], None] = _nothing,
    ) -> None:
        self.door = door
        self.name = name
        self.certificate = certificate
        self.shared = shared
        self.implicit_tls = implicit
        self.wires: set[Wire] = set()
        self.loop: asyncio.AbstractEventLoop  # known from `start` on
        self.draining = False
        self._events = events
        self._server: asyncio.Server | None = None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take limits, timeouts and names of a new configuration; open sessions follow at once."""
        self.settings = Settings.of(config, self.name)
        self.balancers = Networks(config.listeners.proxy_protocol_from)
        self.shared.configure(config.limits)
        self.greeting = f"220 {config.hostname} ESMTP Gatepost\r\n".encode("ascii")
        self.helo = f"250 {config.hostname}\r\n".encode("ascii")
        self._ehlo: dict[tuple[bool, bool], bytes] = {}

    def note(self, event: Event) -> None:
        """Count an event."""
        self._events(event, self.name)

    async def start(self, sock: socket.socket) -> asyncio.Server:
        """Accept on a bound TCP socket from now on."""
        keep_tls_buffers_small()
        self.loop = asyncio.get_running_loop()
        self._server = await self.loop.create_server(self._connect, sock=sock, backlog=BACKLOG)
        return self._server

    async def drain(self, seconds: float = 30.0) -> None:
        """Accept no more, say 421 4.3.2 to idle clients, let messages in flight finish for `seconds`."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for wire in tuple(self.wires):
            wire.drain()
        tasks = [wire.task for wire in self.wires if wire.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for wire in tuple(self.wires):
            wire.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=_ABORTED_SECONDS)

    def _connect(self) -> SmtpServer:
        return SmtpServer(self)

    def ehlo(self, *, tls: bool, login: bool) -> bytes:
        """Return the answer to EHLO; `login`: AUTH may still be used."""
        answer = self._ehlo.get((tls, login))
        if answer is None:
            words = [
                self.settings.hostname,
                "PIPELINING",
                f"SIZE {self.settings.message_octets}",
                "8BITMIME",
                "SMTPUTF8",
                "ENHANCEDSTATUSCODES",
                "DSN",
                "CHUNKING",
                f"LIMITS RCPTMAX={self.settings.recipients}",
            ]
            if not tls and self.certificate is not None:
                words.append("STARTTLS")
            if tls and login and self.door.needs_login:
                words.append("AUTH PLAIN LOGIN")
            lines = [f"250-{word}\r\n" for word in words[:-1]] + [f"250 {words[-1]}\r\n"]
            answer = self._ehlo[tls, login] = "".join(lines).encode("ascii")
        return answer
