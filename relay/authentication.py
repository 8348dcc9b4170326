"""Who logs in: against our own passwords, or on the customer's server that keeps them."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from relay import clock
from relay.errors import Conflict
from relay.events import UpstreamFailed
from relay.model import State, UpstreamAuth
from relay.smtp import reply as replies
from relay.smtp.auth import Busy, Passwords
from relay.store import accounts, changes
from relay.store.changes import Change
from relay.upstream.errors import Unreachable, Unroutable

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Connection

    from relay.config import AuthConfig
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.model import Account, Server
    from relay.routes import Routes
    from relay.smtp.reply import Reply
    from relay.store.directory import Directory
    from relay.store.engine import Store
    from relay.upstream.pool import Pool

MOST_REMEMBERED = 100_000
#: Mail clients give up at 60 s.
ASK_SECONDS = 40.0
#: AUTH not known, not now, no such way, TLS first: the server was not asked whether the password is right.
NOT_ABOUT_THE_PASSWORD = (500, 502, 503, 504, 530, 538)


class Remembered:
    """Good pass-through passwords, as keyed hashes, for some minutes; `now` is in monotonic seconds."""

    def __init__(self, span: timedelta) -> None:
        self._seconds = span.total_seconds()
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def _digest(self, login: str, password: str) -> bytes:
        text = f"{login.lower()}\0{password}".encode("utf-8", "surrogateescape")
        return blake2b(text, key=self._key, digest_size=16).digest()

    def holds(self, login: str, password: str, now: float) -> bool:
        """Tell whether the pair was good a short while ago."""
        return self._until.get(self._digest(login, password), 0.0) > now

    def add(self, login: str, password: str, now: float) -> None:
        """Remember a good pair; the oldest go first."""
        self._until[self._digest(login, password)] = now + self._seconds
        while len(self._until) > MOST_REMEMBERED:
            self._until.popitem(last=False)

    def forget(self, login: str, password: str) -> None:
        """Ask about a pair again the next time."""
        self._until.pop(self._digest(login, password), None)


class Authentication:
    """Judges logins; one for a process. An unknown login costs the time of a wrong one and gets its words."""

    def __init__(  # noqa: PLR0913, PLR0917 - one argument a part
        self,
        config: AuthConfig,
        directory: Directory,
        pool: Pool,
        routes: Routes,
        store: Store,
        keyring: Keyring,
        metrics: Metrics,
    ) -> None:
        self.directory = directory
        self.passwords = Passwords(config.hash_threads, config.remember)
        self.remembered = Remembered(config.remember)
        self.routes = routes
        self.pool = pool
        self.store = store
        self.keyring = keyring
        self.metrics = metrics
        self._provisioning: dict[str, Server] = {}

    def load(self) -> None:
        """Read which servers' logins become accounts at their first good login."""
        with self.store.read() as tx:
            servers = accounts.servers(tx)
        self._provisioning = {domain: server for server in servers for domain in server.provision_domains}

    async def judge(self, login: str, password: str, client_ip: str) -> tuple[Reply, Account | None]:
        """Return the reply to AUTH and whose login it is; Busy when the customer's server cannot be asked."""
        account = await self.directory.account(login)
        server = account.server if account else self._provisioning.get(login.rpartition("@")[2].lower())
        own = [known.hash for known in account.credentials if known.hash] if account else []
        if server is not None and server.auth is UpstreamAuth.PASSTHROUGH and not own:
            right = await self._ask(server, login, password, client_ip)
        else:
            right = await self.passwords.verify(login, password, own)
        if not right:
            return replies.BAD_LOGIN, account
        if account is None and server is not None:
            account = await self._provision(server, login)
        if account is None:
            return replies.BAD_LOGIN, None
        fingerprint = self.keyring.fingerprint(login, password)
        if any(known.blocked and known.fingerprint == fingerprint for known in account.credentials):
            return replies.CREDENTIAL_BLOCKED, account
        if account.effective.state is State.CLOSED:
            return replies.ACCOUNT_CLOSED, account
        return replies.LOGGED_IN, account

    async def _ask(self, server: Server, login: str, password: str, client_ip: str) -> bool:
        now = clock.monotonic()
        if self.remembered.holds(login, password, now):
            return True
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await self.pool.check_login(self.routes(server), login, password, client_ip)
        except (Unreachable, Unroutable, TimeoutError) as error:
            why = str(error) or "no answer to AUTH in time"
            self.metrics.emit(UpstreamFailed(server.name, why))
            raise Busy(why) from error
        if answer.temporary or answer.code in NOT_ABOUT_THE_PASSWORD:
            said = f"answered {answer.code} {answer.text} to AUTH"
            self.metrics.emit(UpstreamFailed(server.name, said))
            raise Busy(said)
        if answer.code == 235:
            self.remembered.add(login, password, now)
            return True
        return False

    async def _provision(self, server: Server, login: str) -> Account | None:
        """Create the account of a login that its server has just accepted."""
        now = clock.now()

        def create(tx: Connection) -> None:
            owner = accounts.customer_by_id(tx, server.customer_id)
            accounts.add_account(tx, now, login, customer=owner.name)

        with suppress(Conflict):  # another session was first
            await self.store.write(create)
        self.directory.forget([Change(0, changes.ACCOUNT, login)])
        return await self.directory.account(login)
