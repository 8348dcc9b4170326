"""What the SMTP server knows of a client, and what it asks of the rest of Gatepost."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.smtp.content import Content
    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply


@dataclass(slots=True)
class Session:
    """One client connection; written by the server, read by the door."""

    id: str
    #: submission, submissions, egress or feedback
    listener: str
    peer_ip: str
    peer_port: int = 0
    helo: str = ""
    #: negotiated TLS version ("TLSv1.3"), empty in clear text
    tls: str = ""
    login: str | None = None
    #: the client has closed the connection, or its half of it: what is answered now may not arrive
    gone: bool = False
    #: what the door wants done at that moment
    when_gone: Callable[[], None] | None = field(default=None, repr=False)
    #: the door's own notes on this session and its open transaction
    notes: Any = field(default=None, repr=False)

    def leaves(self) -> None:
        """Note that the client is gone; harmless twice."""
        if not self.gone:
            self.gone = True
            if self.when_gone is not None:
                self.when_gone()


class Event(StrEnum):
    """What a listener tells its metrics."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"  #: a limit per client, or on all connections
    TLS_FAILED = "tls_failed"
    LOGGED_IN = "logged_in"
    LOGIN_FAILED = "login_failed"
    LOGIN_BLOCKED = "login_blocked"  #: too many failures from that client
    LOGIN_GUESSED = "login_guessed"  #: a login is being guessed at from many places
    TIMED_OUT = "timed_out"
    TOO_MANY_ERRORS = "too_many_errors"
    BUG = "bug"


class Door(Protocol):
    """What stands behind a listener. Each method answers with the reply to send.

    The server calls in protocol order, one call at a time per session. An exception out of any of
    them is a bug: the server answers 451 4.3.0 with constant text and goes on.
    """

    #: whether MAIL needs a login first
    needs_login: bool

    async def authenticate(self, session: Session, login: str, password: str, mechanism: str) -> Reply:
        """Answer 235 (and the server sets session.login), 535, 525 or 454."""
        ...

    def guessed(self, session: Session, login: str) -> None:
        """Hear that strangers are trying many passwords for a login, perhaps one that nobody has."""
        ...

    async def mail(self, session: Session, command: MailFrom) -> Reply:
        """Open a transaction."""
        ...

    async def rcpt(self, session: Session, command: RcptTo) -> Reply:
        """Take or refuse one recipient."""
        ...

    async def slow(self, session: Session) -> None:
        """Hear that DATA passed 256 KiB or 5 s, or that the client has been silent for so long before it.

        Give back what is scarce; it is asked again with the next recipient, or at the dot.
        """
        ...

    async def data(self, session: Session, content: Content) -> Reply:
        """Decide about the whole message; runs shielded from the loss of the client."""
        ...

    async def abandon(self, session: Session) -> None:
        """Drop the open transaction (RSET, EHLO, refusal, QUIT, loss); harmless without one."""
        ...

    def answered(self, session: Session, *, heard: bool) -> None:
        """Hear whether the reply to the dot arrived: the client said something since, or is gone without."""
        ...
