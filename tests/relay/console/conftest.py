from __future__ import annotations

import dataclasses
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import update
from starlette.testclient import TestClient

from relay import ids
from relay.clock import micros
from relay.config import Config, ConsoleConfig
from relay.console.app import create
from relay.keyring import Key, Keyring
from relay.model import Account, Customer, Level, State
from relay.outbox.envelope import Recipient, WaitingEnvelope
from relay.outbox.queue import reports_of
from relay.store import accounts, audit, journal, schema, staff, switch, tokens
from relay.store import outbox as waiting
from relay.store.engine import Store
from relay.store.outbox import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from relay.events import Event
    from relay.feedback.intake import Intake

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
ROLES = ("viewer", "support", "abuse", "admin")
CONTENT = (
    b"From: anna@acme.example\r\nTo: ben@elsewhere.example\r\nSubject: Kanarienvogel\r\n\r\n"
    b"<script>alert(1)</script> see https://shop.example/x\r\n"
)
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@dataclass
class World:
    """A migrated store: two customers, an account each, one person a role; and a clock that stands still."""

    store: Store
    folder: Path
    now: datetime = START
    config: Config = field(default_factory=Config)
    events: list[Event] = field(default_factory=list)
    ready: tuple[bool, dict[str, Any]] = (True, {"store": True})
    keyring: Keyring = field(default_factory=lambda: Keyring([Key(1, b"k" * 32)]))

    def app(self, intake: Intake | None = None, **console: Any) -> FastAPI:
        config = self.config.model_copy(update={"console": ConsoleConfig(**console)})
        return create(
            self.store,
            None,
            config,
            metrics=lambda: b"gatepost_messages_total 0.0\n",
            ready=lambda: self.ready,
            now=lambda: self.now,
            emit=self.events.append,
            keyring=self.keyring,
            intake=intake,
        )

    def client(
        self, app: FastAPI | None = None, *, ip: str = "192.0.2.10", https: bool = False
    ) -> TestClient:
        scheme = "https" if https else "http"
        return TestClient(
            app or self.app(),
            base_url=f"{scheme}://testserver",
            raise_server_exceptions=False,
            follow_redirects=False,
            client=(ip, 50000),
        )

    def at_desk(self, role: str, app: FastAPI | None = None) -> TestClient:
        """A client that logged in through the form."""
        client = self.client(app)
        assert log_in(client, role).status_code == 303
        return client

    def account(self, login: str) -> Account:
        with self.store.read() as tx:
            return accounts.account(tx, login)

    def customer(self, name: str) -> Customer:
        with self.store.read() as tx:
            return accounts.customer(tx, name)

    def suspend(self, login: str, reason: str = "spam run") -> str:
        with self.store.begin() as tx:
            standing = switch.set_by_staff(
                tx, self.now, Level.ACCOUNT, login, State.SUSPENDED, reason=reason, who="staff:abuse"
            )
        assert standing.case_id
        return standing.case_id

    def sent(self, login: str, **more: Any) -> str:
        """Journal one message of an account and return its id."""
        sender = self.account(login)
        message_id = ids.message_id(self.now)
        facts: dict[str, Any] = {
            "action": "deliver",
            "recipient_count": 1,
            "recipients": b"h" * 32,
            "size": 900,
        }
        facts["outcome"] = {"hold": "held", "refuse": "refused", "defer": "deferred"}.get(
            more.get("action", ""), "forwarded"
        )
        row = journal.JournalRow(message_id, sender.id, sender.customer.id, self.now, **(facts | more))
        with self.store.begin() as tx:
            journal.append(tx, [row])
        return message_id

    def waits(self, login: str, number: str = "", **more: Any) -> str:
        """Put one message of an account into the outbox, held unless said otherwise; return its id."""
        sender, reports = self.account(login), reports_of(self.config, self.keyring)
        number = number or ids.message_id(self.now)
        envelope = WaitingEnvelope(login, (Recipient("ben@elsewhere.example"),))
        row = Row(
            id=number,
            state=waiting.State.HELD,
            reason="held",
            account_id=sender.id,
            customer_id=sender.customer.id,
            server_id=sender.server.id,
            at_us=micros(self.now),
            next_us=micros(self.now),
            deadline_us=micros(self.now + timedelta(days=7)),
            size=len(CONTENT),
            recipients=1,
            envelope=envelope.seal(self.keyring, number),
        )
        with self.store.begin() as tx:
            waiting.add(tx, dataclasses.replace(row, **more), reports.spool.seal(number, [CONTENT]))
        return number

    def waiting(self, number: str) -> Row | None:
        with self.store.read() as tx:
            return waiting.get(tx, number)

    def audit(self) -> list[tuple[str, str, str]]:
        with self.store.read() as tx:
            return [(entry.who, entry.action, entry.object) for entry in audit.entries(tx, limit=500)]

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)


def form_token(client: TestClient, path: str) -> str:
    match = _CSRF.search(client.get(path).text)
    assert match, f"no form on {path}"
    return match[1]


def log_in(client: TestClient, name: str, password: str = PASSWORD, **fields: str) -> Any:
    token = form_token(client, "/login")
    return client.post("/login", data={"name": name, "password": password, "csrf": token, **fields})


@pytest.fixture(scope="session")
def furnished_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for all tests; its passwords are hashed cheaply, argon2id in earnest takes 0.2 s."""
    folder = tmp_path_factory.mktemp("console")
    store = Store("sqlite:///gatepost.db", folder)
    store.migrate()
    with store.begin() as tx:
        for role in ROLES:
            staff.add(tx, START, role, PASSWORD, role=role)
        cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
        tx.execute(update(schema.staff).values(password_hash=cheap))
        for name in ("acme", "globex"):
            accounts.add_customer(
                tx, START, name, hosts=["127.0.0.1:2525"], contact=f"postmaster@{name}.example"
            )
            accounts.add_account(
                tx, START, f"anna@{name}.example", customer=name, password_hash="x", fingerprint=b"f" * 16
            )
    store.close()
    return folder / "gatepost.db"


@pytest.fixture
def world(furnished_file: Path, tmp_path: Path) -> Iterator[World]:
    shutil.copyfile(furnished_file, tmp_path / "gatepost.db")
    store = Store("sqlite:///gatepost.db", tmp_path)
    yield World(store, tmp_path)
    store.close()


@pytest.fixture
def token(world: World) -> Callable[..., dict[str, str]]:
    """Makes API tokens; returns the header that carries one."""

    def make(*scopes: str, customer: str = "", **more: Any) -> dict[str, str]:
        owner = world.customer(customer).id if customer else None
        with world.store.begin() as tx:
            text = tokens.make(
                tx, world.now, "test", scopes=scopes, made_by="staff:admin", customer_id=owner, **more
            )
        return {"authorization": f"Bearer {text}"}

    return make
