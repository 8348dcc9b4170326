"""Where a customer's mail goes, and as whom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from relay.errors import ConfigError, Fault
from relay.model import Server, Tls, UpstreamAuth

if TYPE_CHECKING:
    from collections.abc import Callable


Connections = tuple[str, str, str, tuple[str, ...], Tls, bool]


@dataclass(frozen=True, slots=True)
class Route:
    """One customer's server: hosts tried in order, the credential, and how far names are trusted.

    `key` names the server: breakers and connection caps belong to it. A host is `NAME:PORT`,
    `[IPv6]:PORT`, `mx:DOMAIN:PORT` (the domain's MX, RFC 5321 §5.1) or `srv:NAME:0` (RFC 2782,
    as `srv:_submission._tcp.acme.example:0`).
    """

    key: str
    hosts: tuple[str, ...]
    tls: Tls = Tls.NONE
    login: str = ""
    password: str = field(default="", repr=False)
    verify: bool = False
    trusted_hosts: bool = True

    def logged_in_as(self, login: str, password: str) -> Route:
        """Return the same route with a client's own credential (pass-through)."""
        return replace(self, login=login, password=password)

    @property
    def connections(self) -> Connections:
        """Return what connections are pooled by: never shared between servers, places or credentials.

        A server that has moved, or that now wants TLS, is not spoken to over what was opened before.
        """
        return self.key, self.login, self.password, self.hosts, self.tls, self.verify


def route_for(
    server: Server, *, verify: bool, folder: Path, secret: Callable[[Path], str] | None = None
) -> Route:
    """Return the route to a customer's server with its relay credential, where it has one.

    The secret's file is read here (relative to `folder`), so keep the route and make it anew on
    change. ConfigError if it cannot be read.
    """
    login, password = "", ""
    # a server of pass-through logins may have one besides, for mail that waits
    if server.auth is not UpstreamAuth.NONE and server.relay_login:
        path = folder / server.relay_secret_file
        try:
            password = (secret or _read)(path)
        except (OSError, UnicodeDecodeError) as error:
            fault = Fault(
                f"server {server.name}: secret file", str(path), "must be a readable UTF-8 file of one line"
            )
            raise ConfigError([fault]) from error
        login = server.relay_login
    key = f"server {server.id} {server.name}"
    return Route(key, server.hosts, server.tls, login, password, verify, server.trusted_hosts)


def _read(path: Path) -> str:
    return path.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
