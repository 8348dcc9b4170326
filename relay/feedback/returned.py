"""What came back to a return path of ours (relay.signing.returns): passed on to the sender it was meant for.

With the null sender, so that nothing comes back of it: loops end here. The same thing twice within a day goes
on once; whose sender nobody knows (any more) is not passed on, and waits for staff. Who got a message knows
its return path: so that nobody floods its sender, no more is passed on than the recipients may answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

from relay import ids
from relay.errors import NotFound, StoreError
from relay.outbox.envelope import Recipient, WaitingEnvelope
from relay.outbox.parcel import Parcel, Why
from relay.store import accounts, journal

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.model import Account
    from relay.outbox.queue import Outbox
    from relay.signing.returns import Returned, Returns
    from relay.store.engine import Store

#: A bounce that is faster than the journal's commit comes again; later the row is gone for good.
UNCOMMITTED = timedelta(minutes=5)
RESOLVE_SECONDS = 5.0
#: Within a day, to one return path, by one process: each recipient's delay, bounce and answer, and some.
MOST_EACH, MOST_MORE = 3, 10
_WINDOW = timedelta(days=1)
#: Messages whose returns are counted; more are forgotten, oldest first.
_COUNTED = 10_000
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Crowded(StoreError):
    """More comes back to a message than its recipients can have sent; later some of it is taken."""


class Returning:
    """One for a process that takes reports."""

    def __init__(self, store: Store, outbox: Outbox, returns: Returns) -> None:
        self._store = store
        self._outbox = outbox
        self._returns = returns
        #: by message: since when, and how many were passed on
        self._counts: dict[str, tuple[datetime, int]] = {}

    async def pass_on(self, raw: bytes, said: Returned, now: datetime) -> bool:
        """Put what came back into the outbox for the message's sender; False if nobody knows who that is.

        Durable when it returns. StoreError if it could not be kept, or the message is not in the journal yet;
        Crowded where too much came already.
        """
        account, sender, recipients = await self._store.query(lambda tx: self._sender(tx, said))
        if not sender and now - said.sent_at < UNCOMMITTED:
            raise StoreError(f"message {said.message_id} is not in the journal yet")
        if account is None or not sender:
            return False
        self._count(said.message_id, MOST_EACH * recipients + MOST_MORE, now)
        number, to = ids.message_id(now), Recipient(sender, notify=("NEVER",))
        trace = f"Received: by {self._outbox.reports.hostname} (Gatepost) with ESMTP id {number};"
        digest = hashlib.sha256(raw).digest()
        parcel = Parcel(
            id=number,
            account=account,
            envelope=WaitingEnvelope("", (to,), smtputf8=not sender.isascii(), eight_bit=not raw.isascii()),
            pieces=[f"{trace}\r\n {format_datetime(now)}\r\n".encode("ascii"), _LINE_END.sub(b"\r\n", raw)],
            why=Why.RETURNED,
            answer_key=self._outbox.doubts.key("returned", account.id, said.message_id, digest, [sender]),
        )
        await self._outbox.accept(parcel)
        return True

    def _count(self, message_id: str, most: int, now: datetime) -> None:
        since, count = self._counts.pop(message_id, (now, 0))
        if now - since >= _WINDOW:
            since, count = now, 0
        self._counts[message_id] = since, min(count + 1, most)
        if len(self._counts) > _COUNTED:
            del self._counts[next(iter(self._counts))]
        if count >= most:
            raise Crowded(f"message {message_id}: {most} came back to it since {since:%d %b %H:%M} UTC")

    def _sender(self, tx: Connection, said: Returned) -> tuple[Account | None, str, int]:
        """Return a message's account, its sender and how many recipients it had."""
        row = journal.message(tx, said.message_id)
        if row is None or row.account_id != said.account_id:
            return None, "", 0
        try:
            account = accounts.account_by_id(tx, said.account_id)
        except NotFound:
            return None, "", 0
        return account, self._returns.sender(row.id, row.sender), row.recipient_count

    async def brought_by_server(self, said: Returned, peer_ip: str) -> bool:
        """Return whether a peer is the customer's own server: it and whom it told know the return path."""
        account, _, _ = await self._store.query(lambda tx: self._sender(tx, said))
        if account is None:
            return False
        hosts = {host.rpartition(":")[0].strip("[]") for host in account.server.hosts}
        found = await asyncio.gather(*(_addresses(host) for host in hosts))
        return ip_address(peer_ip) in {one for addresses in found for one in addresses}


async def _addresses(host: str) -> set[object]:
    """Return a host's addresses, none if they cannot be had now."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, TimeoutError, UnicodeError):
        return set()
    return {ip_address(str(address[0]).partition("%")[0]) for *_, address in found}
