"""The real daemon between its clients and a strict server, on either store, and the proof of Invariant I."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol, Self

from tests.service.faults.book import SENDER, Book
from tests.service.faults.load import submit
from tests.service.faults.upstream import Upstream
from tests.service.faults.warm import WarmRelay
from tests.service.harness import Relay, until
from tests.service.wire import Client

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from tests.service.faults.book import Entry
    from tests.service.faults.stores import Remains
    from tests.service.faults.warm import Starter

DRAIN_SECONDS = 120
OUTBOX = 'first_retry = "200ms"\nlongest_retry = "1s"\nconcurrency = 10'


class Store(Protocol):
    """What a campaign needs of a store."""

    name: str
    url: str
    home: Path

    def remains(self) -> Remains: ...
    def stalled(self) -> AbstractContextManager[None]: ...
    def watch(self) -> None: ...
    def kill_after_commit(self, group: int) -> None: ...
    def calm(self) -> None: ...
    def age_leases(self) -> None: ...
    def waiting(self) -> int: ...


class Site:
    """One daemon, not started yet, with one customer and one account."""

    def __init__(
        self,
        home: Path,
        store: Store,
        *,
        workers: int = 1,
        starter: Starter | None = None,
        outbox: str = OUTBOX,
    ) -> None:
        self.store = store
        self.book = Book()
        self.upstream = Upstream(self.book)
        # several workers are programs that are started, not forked
        self.relay = WarmRelay(home, starter) if starter is not None else Relay(home)
        #: how many messages staff had to let go on, because they were on their way at three kills
        self.aside = 0
        relay = self.relay
        relay.init()
        text = relay.config.read_text().replace('"sqlite:///gatepost.db"', f'"{store.url}"')
        relay.config.write_text(text.replace("workers = 1 ", f"workers = {workers} "))
        relay.configure("outbox", outbox)
        server = f"127.0.0.1:{self.upstream.port}"
        relay.run("customer", "add", "acme", "--server", server, "--mode", "observe")
        relay.account(SENDER, "acme")

    def client(self) -> Client:
        """Return a session that has logged in."""
        return Client(self.relay, SENDER)

    def send(self, client: Client, kind: str, *, large: bool = False) -> tuple[bytes, Entry]:
        """Send one message; return the answer that ended it, and its entry."""
        entry = self.book.new(kind, large=large)
        try:
            submit(self.book, client, entry)
        except ConnectionError:
            if entry.answers:
                client.say(b"RSET")
        return entry.answers[-1] if entry.answers else b"", entry

    def drain(self) -> list[str]:
        """Wait until nothing waits any more; return what does."""
        with contextlib.suppress(AssertionError):
            until(lambda: not self.store.waiting(), seconds=DRAIN_SECONDS)
        left = self.store.waiting()
        return [f"{left} messages still wait, and nothing is in their way"] if left else []

    def settle(self) -> list[str]:
        """Let everything end, stop the daemon, and return what breaks the invariant then."""
        self.store.age_leases()
        left = self.drain()
        aside = [row["id"] for row in self.relay.rows("outbox", "list")]
        self.aside = len(aside)
        if aside:  # they were on their way at three kills: staff let them go on
            self.relay.run("outbox", "retry", *aside)
            left += self.drain()
        assert self.relay.stop() == 0
        if self._bodies():
            self._age_files()
            self.relay.start()
            until(lambda: not self._bodies())
            assert self.relay.stop() == 0
        remains = self.store.remains()
        return left + remains.faults + self.book.broken(remains.waits, remains.reports)

    def _bodies(self) -> set[str]:
        return {path.name for path in (self.relay.folder / "spool").rglob("*") if path.is_file()}

    def _age_files(self) -> None:
        """Let an hour pass for files: then what a dead process left behind may go."""
        for path in (self.relay.folder / "spool").rglob("*"):
            if path.is_file():
                os.utime(path, (0, 0))

    def close(self) -> None:
        """End everything that runs."""
        if self.relay.process is not None:
            self.relay.kill()
            self.relay.wait_for_death()
        self.upstream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
