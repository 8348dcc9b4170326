"""How fast a message comes in: silence, mean rate, and when the door should give back what is scarce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.smtp import reply as replies
from relay.smtp.wire import SLOW_SECONDS, HangUp

if TYPE_CHECKING:
    from relay.smtp.server import SmtpServer

_RATE_COUNTS_AFTER_SECONDS = 60.0
_RATE_CHECK_SECONDS = 10.0


class Pace:
    """Watches one message."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._settings = server.listener.settings
        self._started_at = server.loop.time()
        self._octets_before = server.octets_in
        self._heard_octets, self._heard_at = server.octets_in, self._started_at
        self._told = False

    def first_time_slow(self) -> bool:
        """Return True once."""
        told, self._told = self._told, True
        return not told

    async def wait(self) -> None:
        """Wait for more of the message; HangUp when the client is silent or too slow."""
        server = self._server
        until = min(self._heard_at + self._settings.data_seconds, self._next_check())
        if not self._told:
            until = min(until, self._started_at + SLOW_SECONDS)
        await server.wait(until)
        now = server.loop.time()
        if server.octets_in != self._heard_octets:
            self._heard_octets, self._heard_at = server.octets_in, now
        elapsed = now - self._started_at
        if now - self._heard_at >= self._settings.data_seconds or self._too_slow(elapsed):
            raise HangUp(replies.DATA_TIMED_OUT)
        if elapsed >= SLOW_SECONDS and self.first_time_slow():
            await server.tell_slow()

    def _next_check(self) -> float:
        now = self._server.loop.time()
        return max(self._started_at + _RATE_COUNTS_AFTER_SECONDS, now + _RATE_CHECK_SECONDS)

    def _too_slow(self, elapsed: float) -> bool:
        if elapsed < _RATE_COUNTS_AFTER_SECONDS:
            return False
        return self._heard_octets - self._octets_before < self._settings.data_rate * elapsed
