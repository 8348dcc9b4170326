"""Where each customer's server is and as whom we come, kept until the server or the configuration changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.upstream.route import route_for

if TYPE_CHECKING:
    from relay.config import Config
    from relay.model import Server
    from relay.upstream.route import Route


class Routes:
    """Routes by server; a secret's file is read once."""

    def __init__(self, config: Config) -> None:
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take a new configuration; secrets are read again."""
        self._verify = config.upstream.verify_tls
        self._folder = config.folder
        self._known: dict[int, tuple[Server, Route]] = {}

    def __call__(self, server: Server) -> Route:
        """Return the route to a server; ConfigError if its secret cannot be read."""
        known = self._known.get(server.id)
        if known is None or (known[0] is not server and known[0] != server):
            known = self._known[server.id] = (
                server,
                route_for(server, verify=self._verify, folder=self._folder),
            )
        return known[1]
