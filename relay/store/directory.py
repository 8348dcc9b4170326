"""Who may log in, in memory: read from the store at first use, forgotten when it changes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from relay.clock import monotonic
from relay.errors import NotFound, StoreError
from relay.store import accounts, changes, domains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection

    from relay.model import Account
    from relay.store.changes import Change
    from relay.store.engine import Store

    #: Hears of changes after the directory forgot what they touch; must not block.
    Listener = Callable[[Sequence[Change]], None]

#: A login that nobody has is asked of the store again after this long.
MISS_SECONDS = 1.0
MOST_ACCOUNTS = 100_000
MOST_MISSES = 10_000


class Directory:
    """Accounts by login. A hit costs no database read; standing, credentials and routes are ≤ 200 ms old.

    A login that is not here is read from the store before it is refused (StoreError if that cannot be done).
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._accounts: dict[str, Account] = {}
        self._keys: dict[tuple[str, str], set[str]] = {}
        self._missing: dict[str, float] = {}
        self._loading: dict[str, asyncio.Task[Account | None]] = {}
        self._listeners: list[Listener] = []
        self._owners: dict[str, frozenset[int]] = {}
        self._seq: int | None = None
        self._hinted = asyncio.Event()
        #: monotonic moment of the last poll that the store answered
        self.fresh_at = 0.0

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every batch of changes, oldest first; an empty key stands for everything."""
        self._listeners.append(listener)

    async def account(self, login: str) -> Account | None:
        """Return the account of a login in any case, None if there is none; StoreError if nobody can know."""
        found = self._accounts.get(login)
        if found is not None:
            return found
        key = accounts.login_key(login)
        if key in self._accounts:
            return self._accounts[key]
        if monotonic() < self._missing.get(key, 0.0):
            return None
        task = self._loading.get(key)
        if task is None:  # the first to ask reads for all who ask meanwhile
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    async def _load(self, key: str) -> Account | None:
        seq, found = await self._store.query(lambda tx: _read(tx, key), urgent=True)
        if self._seq is not None and seq < self._seq:
            # a change was applied while this read was under way: it may be older
            seq, found = await self._store.query(lambda tx: _read(tx, key), urgent=True)
        self._note(key, found, seq)
        return found

    def _note(self, key: str, found: Account | None, seq: int) -> None:
        if found is None:
            if len(self._missing) >= MOST_MISSES:
                self._missing.clear()
            self._missing[key] = monotonic() + MISS_SECONDS
            return
        if self._seq is None or seq < self._seq:
            return  # nobody watches, or it is old already: good for this answer, not for the next
        if len(self._accounts) >= MOST_ACCOUNTS:
            self._drop(next(iter(self._accounts)))
        self._accounts[key] = found
        for name in _names(found):
            self._keys.setdefault(name, set()).add(key)

    def peek(self, login: str) -> Account | None:
        """Return an account only if it is in memory."""
        return self._accounts.get(login) or self._accounts.get(accounts.login_key(login))

    def foreign(self, customer_id: int, domain: str) -> bool:
        """Return whether a domain, or one above it, belongs to other customers and not to this one."""
        return domains.foreign(self._owners, customer_id, domain)

    async def customer_of_domain(self, domain: str) -> int | None:
        """Return the id of the one customer that a domain belongs to; None if it is no one's or shared."""
        name = domains.plain(domain)
        owners = (await self._store.query(lambda tx: domains.owners(tx, [name]))).get(name, frozenset())
        return next(iter(owners)) if len(owners) == 1 else None

    def forget(self, heard: Iterable[Change]) -> None:
        """Drop what these changes touch; the next use reads it again."""
        for change in heard:
            self._missing.clear()
            for key in list(self._keys.get((change.kind, change.key), ())):
                self._drop(key)

    def forget_everything(self) -> None:
        """Drop all: after a gap in the changes."""
        self._accounts.clear()
        self._keys.clear()
        self._missing.clear()

    def _drop(self, key: str) -> None:
        account = self._accounts.pop(key, None)
        for name in _names(account) if account else ():
            keys = self._keys[name]
            keys.discard(key)
            if not keys:
                del self._keys[name]

    async def poll(self) -> list[Change]:
        """Hear what changed since the last time, forget it, and tell the listeners; StoreError."""
        if self._seq is None:
            self._seq, self._owners = await self._store.query(
                lambda tx: (changes.latest(tx), domains.owners(tx))
            )
            self.fresh_at = monotonic()
            return []
        after = self._seq
        heard, owners = await self._store.query(lambda tx: _hear(tx, after), urgent=True)
        self.fresh_at = monotonic()
        if not heard:
            return []
        # set before forgetting: a load under way now sees that it may be older
        self._seq = heard[-1].seq
        if heard[0].seq != after + 1:
            self.forget_everything()
            self._owners = owners
        else:
            self.forget(heard)
            self._note_owners(heard, owners)
        for listener in self._listeners:
            listener(heard)
        return heard

    def _note_owners(self, heard: Sequence[Change], owners: dict[str, frozenset[int]]) -> None:
        for change in heard:
            if change.kind == changes.DOMAIN and change.key not in owners:
                self._owners.pop(change.key, None)
        self._owners.update(owners)

    async def watch(self, poll_seconds: float = 0.2) -> None:
        """Poll for ever; while the store is silent, what is in memory stays (Store.healthy tells)."""
        while True:
            try:
                while len(await self.poll()) >= changes.PAGE:
                    pass
            except StoreError:
                pass  # the store has logged it, and counts it as unhealthy
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_seconds):
                    await self._hinted.wait()
            self._hinted.clear()

    def hint(self) -> None:
        """Poll at once: something has changed."""
        self._hinted.set()

    def __len__(self) -> int:
        """Return how many accounts are in memory."""
        return len(self._accounts)


def _names(account: Account) -> tuple[tuple[str, str], ...]:
    """Return the changes that touch an account."""
    return (
        (changes.ACCOUNT, str(account.id)),
        (changes.SERVER, str(account.server.id)),
        (changes.CUSTOMER, str(account.customer.id)),
    )


def _hear(tx: Connection, after: int) -> tuple[list[Change], dict[str, frozenset[int]]]:
    """Read what changed, and whose the domains among it are now; after a gap whose all are."""
    heard = changes.since(tx, after)
    if heard and heard[0].seq != after + 1:
        return heard, domains.owners(tx)
    names = {change.key for change in heard if change.kind == changes.DOMAIN}
    return heard, domains.owners(tx, names) if names else {}


def _read(tx: Connection, key: str) -> tuple[int, Account | None]:
    """Read the number of the newest change first: the account is at least as new."""
    seq = changes.latest(tx)
    try:
        return seq, accounts.account(tx, key)
    except NotFound:
        return seq, None
