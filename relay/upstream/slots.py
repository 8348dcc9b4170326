"""How many connections one server gets, and who is next: round robin between logins."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from relay.upstream.errors import Unreachable


class Slots:
    """A fair, bounded number of permits; a login with many waiting messages delays no other login."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.busy = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return sum(len(queue) for queue in self._waiting.values())

    async def take(self, login: str, seconds: float) -> None:
        """Take a permit; Unreachable when none comes free in time."""
        if self.busy < self.limit and not self._waiting:
            self.busy += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(login, deque()).append(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self.give()  # it was handed over in the very moment that we gave up
            else:
                self._forget(login, future)
            if isinstance(error, TimeoutError):
                raise Unreachable(f"all {self.limit} connections are in use", "4.4.5") from error
            raise

    def _forget(self, login: str, future: asyncio.Future[None]) -> None:
        queue = self._waiting.get(login)
        if queue is not None and future in queue:
            queue.remove(future)
            if not queue:
                del self._waiting[login]

    def give(self) -> None:
        """Give a permit back: straight to the next login's first waiter, if there is one."""
        while self._waiting:
            login, queue = self._waiting.popitem(last=False)
            future = queue.popleft()
            if queue:
                self._waiting[login] = queue  # to the end of the round
            if not future.done():
                future.set_result(None)
                return
        self.busy -= 1
