"""A customer's own server keeps the passwords: logins are tried there, and make accounts."""

from __future__ import annotations

import asyncio
import smtplib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.service.harness import PATIENCE_SECONDS, Relay, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.service, pytest.mark.filterwarnings("ignore:Requiring AUTH")]

PASSWORDS = {b"carol@keeps.example": b"her own password"}


class Keeper:
    """A server that knows its users' passwords and takes mail from nobody else."""

    def __init__(self) -> None:
        self.port = 0
        self.tried: list[bytes] = []
        self.messages: list[tuple[str, bytes]] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _check(
        self, _server: SMTP, _session: object, _envelope: object, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.tried.append(data.login)
        good = PASSWORDS.get(data.login) == data.password
        return AuthResult(success=good, handled=good, auth_data=data.login)

    async def handle_DATA(self, _server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append((session.auth_data.decode(), envelope.original_content))
        return "250 2.0.0 stored"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        make = self._loop.create_server(
            lambda: SMTP(
                self, hostname="keeps.example", loop=self._loop, authenticator=self._check,
                auth_required=True, auth_require_tls=False,
            ),
            "127.0.0.1", 0,
        )  # fmt: skip
        server = self._loop.run_until_complete(make)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    server = Keeper()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, keeper: Keeper) -> Iterator[Relay]:
    folder: Path = tmp_path_factory.mktemp("passthrough")
    with Relay(folder) as running:
        running.init()
        running.run(
            "customer", "add", "keeps", "--server", f"127.0.0.1:{keeper.port}", "--auth", "passthrough",
            "--domain", "keeps.example", "--provision", "on-login",
        )  # fmt: skip
        yield running.start()


def test_a_first_good_login_makes_the_account_and_its_mail_goes_out_as_itself(
    relay: Relay, keeper: Keeper
) -> None:
    with relay.client("carol@keeps.example", "her own password") as client:
        client.sendmail(
            "carol@keeps.example", ["bob@there.example"], b"From: carol@keeps.example\r\n\r\nhello\r\n"
        )
    assert [login for login, _ in keeper.messages] == ["carol@keeps.example"]
    assert relay.json("account", "show", "carol@keeps.example")["customer"] == "keeps"
    asked = len(keeper.tried)
    with relay.client("carol@keeps.example", "her own password") as client:
        assert client.noop()[0] == 250
    assert len(keeper.tried) == asked, "a good password is remembered for minutes"


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("carol@keeps.example", "wrong"),
        ("mallory@keeps.example", "x"),
        ("carol@other.example", "her own password"),
    ],
)
def test_other_logins_are_refused_alike_and_make_no_account(relay: Relay, login: str, password: str) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        relay.client(login, password)
    assert refused.value.smtp_code in (535, 421)
    assert (
        login not in {"mallory@keeps.example"}
        or relay.run("account", "show", login, check=False).returncode == 1
    )


def test_a_blocked_password_is_refused_although_the_server_would_take_it(relay: Relay) -> None:
    relay.client("carol@keeps.example", "her own password").quit()
    relay.run("credential", "block", "carol@keeps.example", "--password-stdin", stdin="her own password\n")

    def answer() -> int:
        try:
            relay.client("carol@keeps.example", "her own password").quit()
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code
        return 235

    until(lambda: answer() == 525)
    relay.run("credential", "unblock", "carol@keeps.example", "--password-stdin", stdin="her own password\n")
    until(lambda: answer() == 235)


def test_the_password_in_use_is_known_by_its_fingerprint_so_that_a_compromise_can_block_it(
    relay: Relay,
) -> None:
    for _ in range(2):
        relay.client("carol@keeps.example", "her own password").quit()
    known = until(lambda: relay.json("credential", "list", "carol@keeps.example"))
    assert [(one["blocked"], one["own"]) for one in known] == [(False, False)]
