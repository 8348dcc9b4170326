"""CASES group AU on a live port."""

from __future__ import annotations

import asyncio
import base64
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.smtp import reply as replies
from relay.smtp.auth import Busy, Passwords
from relay.smtp.session import Event
from tests.relay.smtp.harness import LOGIN, PASSWORD, Client, SmallDoor, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from tests.relay.smtp.harness import Service, Services


def b64(text: str | bytes) -> bytes:
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


async def secured(service: Service) -> Client:
    """Return a client inside TLS that has not logged in."""
    client = await service.connect()
    await client.reply()
    await client.expect("EHLO client.example", "250")
    await client.expect("STARTTLS", "220")
    await client.handshake(service.context)
    await client.expect("EHLO client.example", "250")
    return client


async def test_au_01_no_mail_without_login(service: Service) -> None:
    async with await secured(service) as client:
        assert (await client.ask("MAIL FROM:<user@example.org>")).startswith("530 5.7.0")
        await client.expect("RCPT TO:<b@example.net>", "503")
        await client.expect("DATA", "503")
        await client.expect(b"BDAT 2 LAST\r\n\r\n"[:-2], "503")
    assert service.door.messages == []


async def test_au_02_unknown_login_and_wrong_password_read_the_same(service: Service) -> None:
    async with await secured(service) as client:
        wrong = await client.ask(b"AUTH PLAIN " + plain(password="wrong"))
        unknown = await client.ask(b"AUTH PLAIN " + plain(login="nobody@example.org"))
        assert wrong == unknown
        assert wrong.startswith("535 5.7.8")


class HashingDoor(SmallDoor):
    """Checks passwords as the real door does."""

    passwords: Passwords
    hashes: tuple[str, ...]

    async def authenticate(self, session: Session, login: str, password: str, mechanism: str) -> Reply:
        del session, mechanism
        right = await self.passwords.verify(login, password, self.hashes if login == LOGIN else ())
        return replies.LOGGED_IN if right else replies.BAD_LOGIN


@pytest.fixture(scope="module")
def stored() -> str:
    return Passwords.hash(PASSWORD)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(2, timedelta(minutes=5))
    yield made
    made.close()


async def test_au_03_both_take_the_same_time(services: Services, passwords: Passwords, stored: str) -> None:
    door = HashingDoor()
    door.passwords, door.hashes = passwords, (stored,)
    service = await services.start(
        "auth_failures_per_session = 99\nerrors_hard = 99\nerrors_soft = 99", door=door
    )
    loop = asyncio.get_running_loop()
    spent: dict[str, list[float]] = {LOGIN: [], "nobody@example.org": []}
    async with await secured(service) as client:
        for turn in range(7):
            for login, times in spent.items():
                started = loop.time()
                await client.expect(b"AUTH PLAIN " + plain(login, f"wrong {turn}"), "535")
                times.append(loop.time() - started)
    least = [min(times) for times in spent.values()]  # what else the machine does only adds
    assert abs(least[0] - least[1]) < 0.4 * max(least)


@pytest.mark.parametrize(
    ("sent", "codes"),
    [
        ([b"AUTH PLAIN ====!"], ("501",)),
        ([b"AUTH PLAIN " + plain()[:-2]], ("501",)),
        ([b"AUTH PLAIN", b"*"], ("501",)),
        ([b"AUTH LOGIN", b"*"], ("501",)),
        ([b"AUTH LOGIN", b64(LOGIN), b"*"], ("501",)),
        ([b"AUTH LOGIN", b64(LOGIN), b"not base64"], ("501",)),
        ([b"AUTH NTLM"], ("504",)),
        ([b"AUTH XOAUTH2 " + b64("user=a\1auth=Bearer x\1\1")], ("504",)),
        ([b"AUTH"], ("501",)),
        ([b"AUTH \xff\xfe"], ("504",)),
        ([b"AUTH PLAIN ="], ("501", "535")),
        ([b"AUTH PLAIN " + b64("\0\0")], ("535",)),
        ([b"AUTH PLAIN " + b64("\0" + LOGIN + "\0")], ("535",)),
        ([b"AUTH PLAIN " + b64("\0\0" + PASSWORD)], ("535",)),
        ([b"AUTH LOGIN =", b64(PASSWORD)], ("535",)),
        ([b"AUTH LOGIN", b64(LOGIN), b"="], ("535",)),
        # AU-07: nobody acts for another
        ([b"AUTH PLAIN " + b64(f"boss@example.org\0{LOGIN}\0{PASSWORD}")], ("535",)),
        # AU-08: more fields, control characters, no UTF-8, invisible letters, too long
        ([b"AUTH PLAIN " + b64(f"\0{LOGIN}\0{PASSWORD}\0more")], ("501", "535")),
        ([b"AUTH PLAIN " + b64(f"\0{LOGIN}\r\nX: y\0{PASSWORD}")], ("501", "535")),
        ([b"AUTH PLAIN " + b64(f"\0{LOGIN}\x1b[2J\0{PASSWORD}")], ("501", "535")),
        ([b"AUTH PLAIN " + b64(b"\0\xff\xfe\0x")], ("501", "535")),
        ([b"AUTH PLAIN " + b64(f"\0{LOGIN}\u202e\0{PASSWORD}")], ("501", "535")),
        ([b"AUTH PLAIN " + b64("\0" + "a" * 4096 + "\0x")], ("501", "535")),
    ],
)
async def test_au_04_07_08_bad_logins_are_refused(
    service: Service, sent: list[bytes], codes: tuple[str, ...]
) -> None:
    async with await secured(service) as client:
        for line in sent[:-1]:
            await client.expect(line, "334")
        await client.expect(sent[-1], *codes)
        await client.expect(b"AUTH PLAIN " + plain(), "235")
    assert service.door.calls == [f"authenticate PLAIN {LOGIN}"]


@pytest.mark.parametrize(
    "sent",
    [
        [b"auth plain " + plain()],
        [b"AUTH PLAIN", plain()],
        [b"AUTH PLAIN " + b64(f"{LOGIN}\0{LOGIN}\0{PASSWORD}")],
        [b"AUTH LOGIN", b64(LOGIN), b64(PASSWORD)],
        [b"AUTH login " + b64(LOGIN), b64(PASSWORD)],
    ],
)
async def test_every_form_of_login_works(service: Service, sent: list[bytes]) -> None:
    async with await secured(service) as client:
        for line in sent[:-1]:
            await client.expect(line, "334")
        assert (await client.ask(sent[-1])).startswith("235 2.7.0")
        assert "AUTH" not in await client.ask("EHLO client.example")
        await client.expect("MAIL FROM:<user@example.org>", "250")


async def test_au_05_huge_logins_are_refused_alive(service: Service) -> None:
    async with await secured(service) as client:
        await client.expect(b"AUTH PLAIN " + b"A" * 100_000, "500")
        await client.expect(b"AUTH PLAIN", "334")
        await client.expect(b"A" * 100_000, "500")
        await client.expect(b"AUTH PLAIN " + plain(), "235")


async def test_au_06_a_second_login_is_refused(service: Service) -> None:
    async with await service.client() as client:
        await client.expect(b"AUTH PLAIN " + plain(), "503")
        await client.expect("MAIL FROM:<user@example.org>", "250")
        await client.expect(b"AUTH PLAIN " + plain(), "503")


async def test_au_09_failures_end_the_session(service: Service) -> None:
    async with await secured(service) as client:
        for number in range(3):
            await client.expect(b"AUTH PLAIN " + plain(password=f"wrong {number}"), "535")
        assert (await client.reply()).startswith("421 4.7.0")
        assert await client.ended()


async def test_au_10_nobody_learns_who_exists(service: Service) -> None:
    async with await service.client() as client:
        for verb in ("VRFY", "EXPN"):
            assert await client.ask(f"{verb} {LOGIN}") == await client.ask(f"{verb} nobody@example.org")


async def test_au_11_a_guessing_client_is_stopped_and_nobody_else(services: Services) -> None:
    service = await services.start(
        "exempt = []\nauth_failures_per_session = 99\nauth_failures_per_client = 4"
    )
    async with await secured(service) as client:
        for number in range(4):
            await client.expect(b"AUTH PLAIN " + plain("a@example.org", f"wrong {number}"), "535")
    async with await secured(service) as client:
        assert (await client.ask(b"AUTH PLAIN " + plain())).startswith("421 4.7.0")
        assert await client.ended()
    assert Event.LOGIN_BLOCKED in service.events
    other = await service.connect(source="127.0.0.2")
    async with other:
        await other.login(service.context)


async def test_the_same_wrong_password_counts_once(services: Services) -> None:
    service = await services.start(
        "exempt = []\nauth_failures_per_session = 99\nauth_failures_per_client = 4"
    )
    async with await secured(service) as client:
        for _ in range(5):
            await client.expect(b"AUTH PLAIN " + plain(password="old"), "535")
    async with await secured(service) as client:
        await client.expect(b"AUTH PLAIN " + plain(), "235")


async def test_a_login_known_at_an_address_is_not_locked_out_there(services: Services) -> None:
    service = await services.start(
        "exempt = []\nauth_failures_per_session = 99\nauth_failures_per_client = 4"
    )
    async with await service.client():
        pass
    async with await secured(service) as client:
        for number in range(4):
            await client.expect(b"AUTH PLAIN " + plain("a@example.org", f"wrong {number}"), "535")
        await client.expect(b"AUTH PLAIN " + plain(), "235")


async def test_au_13_parallel_guesses_are_bounded(stored: str) -> None:
    passwords = Passwords(1, timedelta(minutes=5))
    results = await asyncio.gather(
        *(passwords.verify(LOGIN, f"wrong {number}", (stored,)) for number in range(200)),
        return_exceptions=True,
    )
    busy = sum(isinstance(result, Busy) for result in results)
    assert busy == 200 - 32
    assert not any(result is True for result in results)
    assert await passwords.verify(LOGIN, PASSWORD, (stored,))
    passwords.close()


async def test_au_13_a_busy_verifier_is_454(services: Services) -> None:
    door = HashingDoor()
    door.passwords, door.hashes = _Full(), ()
    service = await services.start(door=door)
    async with await secured(service) as client:
        assert (await client.ask(b"AUTH PLAIN " + plain())).startswith("454 4.7.0")
        await client.expect("NOOP", "250")


class _Full(Passwords):
    def __init__(self) -> None:
        """Have no threads."""

    async def verify(self, login: str, password: str, hashes: object) -> bool:
        raise Busy(f"{login}{password}{hashes}"[:0])


async def test_au_16_only_argon2id_is_stored(stored: str) -> None:
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in stored


async def test_good_passwords_are_remembered_and_forgotten(stored: str) -> None:
    passwords = Passwords(1, timedelta(minutes=5))
    assert await passwords.verify(LOGIN, PASSWORD, (stored,))
    started = time.process_time()
    for _ in range(50):
        assert await passwords.verify(LOGIN, PASSWORD, (stored,))
    assert time.process_time() - started < 0.05
    assert not await passwords.verify(LOGIN, PASSWORD, (Passwords.hash("new"),))
    assert not await passwords.verify(LOGIN, PASSWORD, ())
    assert not await passwords.verify(LOGIN, PASSWORD, ("no hash at all",))
    assert not await passwords.verify("other@example.org", "wrong", (stored,))
    passwords.close()


async def test_equal_logins_at_once_are_hashed_once(passwords: Passwords, stored: str) -> None:
    """A client that opens hundreds of sessions with its good password is not busy-ed away."""
    results = await asyncio.gather(*(passwords.verify(LOGIN, PASSWORD, (stored,)) for _ in range(500)))
    assert all(results)


async def test_au_17_a_hostile_name_is_never_repeated(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with await secured(service) as client:
        for name in ("a\r\nb", "a\x1bb", "a\u202eb", "canary" * 800):
            reply = await client.ask(b"AUTH PLAIN " + plain(name, "canary-password"))
            assert reply.startswith(("501", "535"))
            assert "canary" not in reply
    assert "canary" not in caplog.text


async def test_sessions_of_an_account_are_bounded(services: Services) -> None:
    service = await services.start("sessions_per_account = 2")
    async with await service.client(), await service.client(), await secured(service) as third:
        assert (await third.ask(b"AUTH PLAIN " + plain())).startswith("421 4.7.0")
        assert await third.ended()
    async with await service.client():
        pass
