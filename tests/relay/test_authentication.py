"""Logins that the customer's own server judges, where that server cannot judge."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from relay.authentication import Authentication
from relay.config import AuthConfig, UpstreamConfig
from relay.dns import Found
from relay.events import UpstreamFailed
from relay.smtp.auth import Busy
from relay.upstream.pool import Pool
from tests.relay.upstream.fake import FakeServer

if TYPE_CHECKING:
    from relay.dns import Resolver
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.model import Server
    from relay.routes import Routes
    from relay.store.directory import Directory
    from relay.store.engine import Store
    from relay.upstream.route import Route

SERVER = cast("Server", SimpleNamespace(name="acme"))


class Nowhere:
    """A resolver that knows no domain."""

    async def mx(self, _name: str) -> tuple[Found, tuple[()]]:
        return Found.NO, ()

    async def close(self) -> None:
        pass


async def asked(route: Route, resolver: Resolver | None = None) -> tuple[bool | None, list[Any]]:
    """Try a password; returns the judgement (None: there is none) and what operators hear."""
    events: list[Any] = []
    pool = Pool(UpstreamConfig(), "gate.example", resolver=resolver)
    authentication = Authentication(
        AuthConfig(remember=timedelta(minutes=5)),
        cast("Directory", None),
        pool,
        cast("Routes", lambda _server: route),
        cast("Store", None),
        cast("Keyring", None),
        cast("Metrics", SimpleNamespace(emit=events.append)),
    )
    try:
        return await authentication._ask(SERVER, "carol@acme.example", "secret", "192.0.2.7"), events
    except Busy:
        return None, events
    finally:
        authentication.passwords.close()
        await pool.close()


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (b"535 5.7.8 no\r\n", False),
        (b"534 5.7.9 use an app password\r\n", False),
        (b"530 5.7.0 Must issue a STARTTLS command first\r\n", None),
        (b"503 5.5.1 AUTH not available\r\n", None),
        (b"454 4.7.0 later\r\n", None),
    ],
)
async def test_only_what_is_said_of_the_password_makes_it_wrong(said: bytes, *, right: bool | None) -> None:
    """Else a server that is set up wrongly makes every login a failure, and whole offices are locked out."""
    logins = {"carol@acme.example": "another"}
    async with FakeServer(logins=logins, answers={"AUTH": said}).running() as server:
        judged, events = await asked(server.route())
    assert judged is right
    assert [type(event) for event in events] == ([] if right is False else [UpstreamFailed])


async def test_a_server_whose_domain_is_gone_is_no_bug_and_no_wrong_password() -> None:
    route = FakeServer().route(hosts=("mx:gone.example:25",))
    judged, events = await asked(route, cast("Resolver", Nowhere()))
    assert judged is None
    assert [type(event) for event in events] == [UpstreamFailed]
