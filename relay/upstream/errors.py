"""What can go wrong with a customer's server, cut by what to do next.

Deferred
├─ Unreachable         nothing was decided: another server, or another time
│  ├─ LoginRefused     our credential was refused (its reply is kept)
│  └─ Unverified       TLS was asked for and could not be had or trusted; never clear text instead
└─ InDoubt             the dot was sent, and no answer can come any more
Failed
└─ Unroutable          the name will never lead to a server (RFC 7505, NXDOMAIN, a loop)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Deferred, Failed

if TYPE_CHECKING:
    from relay.upstream.reply import UpstreamReply


class Unreachable(Deferred):
    """No server could be spoken to, and nothing was decided; the text is for staff, never for a client."""

    def __init__(self, text: str, status: str = "4.4.1") -> None:
        super().__init__(text)
        self.status = status


class Unverified(Unreachable):
    """The server offers no TLS where it must, or its certificate does not hold."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "4.7.5")


class LoginRefused(Unreachable):
    """The server did not accept the credential of this route."""

    def __init__(self, text: str, reply: UpstreamReply) -> None:
        super().__init__(text, "4.7.0")
        self.reply = reply


class InDoubt(Deferred):
    """The whole message is out, and the connection is gone: nobody will ever know its answer."""

    status = "4.4.2"


class Unroutable(Failed):
    """The domain takes no mail, does not exist, or leads back to us."""

    def __init__(self, text: str, status: str) -> None:
        super().__init__(text)
        self.status = status
