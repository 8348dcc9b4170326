"""Answers whose arrival at the client is in doubt: its retry of the same message is told the first one.

Kept in the store for all processes; each knows the keys, so that the rest costs no look there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from relay import clock
from relay.clock import micros
from relay.errors import StoreError
from relay.smtp import reply as replies
from relay.store import answers
from relay.store.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.keyring import Keyring
    from relay.outbox.schedule import Steady
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from relay.store.engine import Store

WATCH_SECONDS = 0.25
#: commits of several processes are not in the order of their clocks
OVERLAP_US = 10_000_000
#: An answer kept or forgotten so lately may not stand in the store yet; so many are known by heart.
FRESH_SECONDS = 10.0
FRESH = 10_000


class Doubts:
    """What one process knows of them, and the way to the store."""

    def __init__(self, store: Store, keyring: Keyring, steady: Steady) -> None:
        self.store = store
        self.keyring = keyring
        self.steady = steady
        #: keys that this process has heard of, until when; None before it has asked
        self._known: dict[bytes, int] | None = None
        #: what this process kept (or, None, forgot) a moment ago, by key
        self._fresh: OrderedDict[bytes, tuple[float, Answer | None]] = OrderedDict()

    def key(
        self, door: str, account_id: int, message_id: str, body_hash: bytes, recipients: Sequence[str]
    ) -> bytes:
        """Return the keyed hash by which a client's retry of the same message is known."""
        people = "\0".join(sorted(one.lower() for one in recipients))
        text = f"{door}\0{account_id}\0{message_id}\0{body_hash.hex()}\0{people}"
        key = self.keyring.derive("answers in doubt")
        return blake2b(text.encode("utf-8", "surrogateescape"), key=key, digest_size=32).digest()

    def may_know(self, key: bytes) -> bool:
        """Return whether an answer may be kept under this key: only then is the store worth asking."""
        return self._known is None or key in self._known

    def cast(self, key: bytes) -> None:
        """Note that the store knows better than memory about a key, from now on or in a moment."""
        self._fresh.pop(key, None)
        if self._known is not None:
            self._known[key] = micros(self.steady.now() + answers.LASTS)

    def _know(self, key: bytes, answer: Answer | None) -> None:
        """Know by heart what the store is being told."""
        if answer is not None:  # what is forgotten casts no doubt on others
            self.cast(key)
        self._fresh.pop(key, None)
        self._fresh[key] = (clock.monotonic(), answer)
        while len(self._fresh) > FRESH or self._old(next(iter(self._fresh.values()))[0]):
            self._fresh.popitem(last=False)

    @staticmethod
    def _old(since: float) -> bool:
        return clock.monotonic() - since > FRESH_SECONDS

    async def recall(self, key: bytes) -> Answer | None:
        """Return the answer that an earlier try of this message got or was owed; StoreError."""
        fresh = self._fresh.get(key)
        if fresh is not None and not self._old(fresh[0]):
            return fresh[1]
        now = self.steady.now()
        return await self.store.query(lambda tx: answers.recall(tx, now, key))

    async def remember(self, key: bytes, answer: Answer) -> None:
        """Keep an answer whose arrival is in doubt, for 24 hours; durable when it returns."""
        self._know(key, answer)
        now = self.steady.now()
        await self.store.write(lambda tx: answers.remember(tx, now, key, answer))

    async def expect(self, key: bytes) -> None:
        """Note, durably and for all processes, that the answer to a message told 451 may still come."""
        self._know(key, answers.UNDER_WAY)
        now = self.steady.now()
        await self.store.write(lambda tx: answers.expect(tx, now, key))

    def expect_later(self, key: bytes) -> None:
        """Note for all processes that the answer to a message is under way whose client is gone already."""
        self.cast(key)
        now = self.steady.now()
        with suppress(StoreError):
            self.store.write_later(lambda tx: answers.expect(tx, now, key))

    def dismiss(self, key: bytes) -> None:
        """Forget that an answer was under way; a message that the store took meanwhile stays known."""
        self.cast(key)
        with suppress(StoreError):
            self.store.write_later(lambda tx: answers.dismiss(tx, key))

    def remember_later(self, key: bytes, answer: Answer) -> None:
        """Keep an answer whose client is gone already; nobody waits for it."""
        self._know(key, answer)
        now = self.steady.now()
        with suppress(StoreError):  # this process knows
            self.store.write_later(lambda tx: answers.remember(tx, now, key, answer))

    async def watch(self) -> None:
        """Learn four times a second of answers that other processes keep, until cancelled."""
        heard_us = 0
        while True:
            try:
                fresh = await self.store.query(partial(answers.kept_since, expires_us=heard_us))
            except StoreError:
                await asyncio.sleep(WATCH_SECONDS)
                continue
            found = self._known or {}
            found.update(fresh)
            heard_us = max([heard_us, *(until - OVERLAP_US for until in fresh.values())])
            now_us = micros(self.steady.now())
            self._known = {key: until for key, until in found.items() if until > now_us} if fresh else found
            await asyncio.sleep(WATCH_SECONDS)

    def forget(self, key: bytes) -> None:
        """Forget an answer that has arrived: the client said something after it."""
        if not self.may_know(key):
            return
        if self._known is not None:
            del self._known[key]
        self._know(key, None)
        with suppress(StoreError):  # it is kept for a day, then
            self.store.write_later(lambda tx: answers.forget(tx, key))


@dataclass(slots=True)
class _Try:
    """One message that is being decided about, or whose answer has not been heard yet."""

    session: Session
    told: asyncio.Future[Reply]
    #: other processes know that its answer is under way
    noted: bool = False


class UnderWay:
    """First tries that this process has not answered yet, or whose client has said nothing since, by key.

    A client that loses its connection comes back at once, while its first try may still be on its way: it
    gets that one's answer. Of a client that is there, the same message again is another message. Other
    processes hear of a try as its client goes, and tell the second one to come later.
    """

    def __init__(self, doubts: Doubts, unanswered: Callable[[bytes], bool]) -> None:
        self._doubts = doubts
        #: whether an answer is awaited though the client was told 451
        self._unanswered = unanswered
        self._tries: dict[bytes, _Try] = {}

    def __len__(self) -> int:
        """Return how many there are: no more than sessions, but for messages sent without waiting."""
        return len(self._tries)

    async def answer(self, key: bytes, until: float) -> Reply | None:
        """Return the answer to a first try whose client is gone; `until` is when ours must be given."""
        first = self._tries.get(key)
        if first is None or not first.session.gone:
            return None
        await asyncio.wait({first.told}, timeout=max(until - clock.monotonic(), 0.0))
        return first.told.result() if first.told.done() else replies.UPSTREAM_SILENT

    @contextmanager
    def begun(self, key: bytes, session: Session) -> Iterator[asyncio.Future[Reply]]:
        """Hold a try while it is decided about; what is given takes its answer."""
        this = _Try(session, asyncio.get_running_loop().create_future())
        if key:
            self._tries[key] = this

            def note() -> None:
                this.noted = True
                self._doubts.expect_later(key)

            session.when_gone = note
            if session.gone:
                note()
        try:
            yield this.told
        finally:
            session.when_gone = None
            if not this.told.done():
                this.told.set_result(replies.LOCAL_PROBLEM)
                self.settled(key, session, replies.LOCAL_PROBLEM, heard=False)

    def settled(self, key: bytes, session: Session, reply: Reply, *, heard: bool) -> None:
        """Forget a try whose client heard the answer; keep the answer where that is in doubt."""
        this = self._tries.get(key)
        if this is not None and this.session is session:
            del self._tries[key]
        if reply.ok and not heard:
            self._doubts.remember_later(key, Answer(reply.code, reply.text))
        elif reply.ok:
            self._doubts.forget(key)
        elif this is not None and this.noted and not self._unanswered(key):
            self._doubts.dismiss(key)
