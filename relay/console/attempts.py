"""How often a login may fail: counted by client and by name, in memory, with `now` handed in."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=5)
#: From one client (an IPv4 address, an IPv6 /64); the next try is answered 429.
PER_CLIENT = 5
#: Against one name from all clients together: higher, since whoever knows a name can use it up.
PER_NAME = 30
#: Keys remembered; the oldest is forgotten first, so that a flood costs bounded memory.
_KEYS = 20_000


class Attempts:
    """Failed logins of the last five minutes."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[datetime]] = {}

    def wait(self, client: str, name: str, now: datetime) -> timedelta | None:
        """Return how long this client must wait before it may try this name again; None: not at all."""
        pauses = [
            self._pause(f"client {client}", PER_CLIENT, now),
            self._pause(f"name {name.lower()}", PER_NAME, now),
        ]
        return max((pause for pause in pauses if pause is not None), default=None)

    def _pause(self, key: str, most: int, now: datetime) -> timedelta | None:
        failures = self._failures.get(key)
        while failures and failures[0] <= now - WINDOW:
            failures.popleft()
        if not failures or len(failures) < most:
            return None
        return failures[0] + WINDOW - now

    def failed(self, client: str, name: str, now: datetime) -> None:
        """Count a failure; noted before the password is looked at, so that tries at once all count."""
        for key, most in ((f"client {client}", PER_CLIENT), (f"name {name.lower()}", PER_NAME)):
            # taken out and put back: the dict's order is that of the latest failure
            failures = self._failures.pop(key, None) or deque(maxlen=most)
            failures.append(now)
            self._failures[key] = failures
        while len(self._failures) > _KEYS:
            self._failures.pop(next(iter(self._failures)))

    def succeeded(self, client: str, name: str) -> None:
        """Take back the one that `failed` noted in advance."""
        for key in (f"client {client}", f"name {name.lower()}"):
            if failures := self._failures.get(key):
                failures.pop()
