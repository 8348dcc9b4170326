"""Room for large messages: how many octets of them may be in memory at once, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Octets to take and to give back; a message larger than all of it goes alone."""

    def __init__(self, octets: int) -> None:
        self.octets = octets
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, octets: int, seconds: float) -> bool:
        """Take room, waiting at most `seconds` for others to give some back; False if they did not."""
        if not self._waiting and self._fits(octets):
            self._taken += octets
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            return turn.done() and not turn.cancelled()
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(octets)
            raise
        else:
            return True
        finally:
            self._call()

    def give(self, octets: int) -> None:
        """Give back what was taken."""
        self._taken -= octets
        self._call()

    def _fits(self, octets: int) -> bool:
        return not self._taken or self._taken + octets <= self.octets

    def _call(self) -> None:
        """Let those in front of the line in."""
        while self._waiting:
            octets, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self._fits(octets):
                self._waiting.popleft()
                self._taken += octets
                turn.set_result(None)
            else:
                return
