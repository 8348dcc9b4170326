"""CASES group TL on a live port."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from typing import TYPE_CHECKING

import pytest

from relay.errors import ConfigError
from relay.smtp.tls import Certificate
from tests.relay.smtp.harness import PASSWORD, Client, SmallDoor, plain

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.relay.smtp.harness import Service, Services


async def greeted(service: Service) -> Client:
    client = await service.connect()
    assert (await client.reply()).startswith("220")
    await client.expect("EHLO client.example", "250")
    return client


async def test_tl_01_no_login_in_clear_text(service: Service) -> None:
    async with await service.connect() as client:
        await client.reply()
        offer = await client.ask("EHLO client.example")
        assert "AUTH" not in offer
        assert "250-STARTTLS" in offer or "250 STARTTLS" in offer
        assert (await client.ask(b"AUTH PLAIN " + plain())).startswith("538 5.7.11")
        assert (await client.ask(b"AUTH LOGIN")).startswith("538 5.7.11")
    assert service.door.calls == []


async def test_tl_02_no_mail_in_clear_text(service: Service) -> None:
    async with await greeted(service) as client:
        assert (await client.ask("MAIL FROM:<user@example.org>")).startswith("530 5.7.0")


async def test_tl_03_commands_behind_starttls_are_never_answered(service: Service) -> None:
    async with await greeted(service) as client:
        await client.send(b"STARTTLS\r\nNOOP\r\nEHLO x\r\n")
        assert await client.reply() == ""


async def test_tl_04_half_a_command_before_tls_is_not_completed_inside(service: Service) -> None:
    async with await greeted(service) as client:
        await client.send(b"STARTTLS\r\nNO")
        assert await client.reply() == ""


async def test_tl_04_clear_text_that_races_the_handshake_is_not_run(service: Service) -> None:
    """The clear text arrives after the 220: it can only break the handshake."""
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        await client.send(b"MAIL FROM:<evil@injected.example>\r\n")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.handshake(service.context)
    assert "mail" not in service.door.calls


async def test_tl_05_starttls_takes_no_argument(service: Service) -> None:
    async with await greeted(service) as client:
        await client.expect("STARTTLS now", "501")


async def test_tl_06_no_tls_inside_tls(service: Service) -> None:
    async with await service.client() as client:
        assert "STARTTLS" not in await client.ask("EHLO client.example")
        await client.expect("STARTTLS", "503")


async def test_tl_07_tls_forgets_ehlo(service: Service) -> None:
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        await client.handshake(service.context)
        await client.expect(b"AUTH PLAIN " + plain(), "503")
        await client.expect("EHLO client.example", "250")
        await client.expect(b"AUTH PLAIN " + plain(), "235")
        await client.expect("MAIL FROM:<user@example.org>", "250")


async def test_tl_08_no_client_hello_no_session(service: Service) -> None:
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        await client.send(b"EHLO\r\n" * 20)
        assert await asyncio.wait_for(client.reader.read(), 5) is not None
        assert client.reader.at_eof()


async def test_tl_09_old_tls_is_refused(service: Service) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.handshake(old)


async def test_tl_10_silence_in_the_handshake_is_cut(services: Services) -> None:
    service = await services.start('tls_timeout = "200ms"')
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        assert await asyncio.wait_for(client.reader.read(), 5) == b""


async def test_tl_11_a_new_pair_is_taken_and_a_bad_one_is_not(
    services: Services, authority: trustme.CA, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    for source, target in zip(pair, files, strict=True):
        shutil.copy(source, target)
    holder = Certificate(*files)
    service = await services.start(certificate=holder)

    async def serial() -> int:
        async with await greeted(service) as client:
            await client.expect("STARTTLS", "220")
            await client.handshake(service.context)
            assert client.certificate is not None
            return int(client.certificate["serialNumber"], 16)

    before = await serial()
    other = authority.issue_cert("localhost")
    other.private_key_pem.write_to_path(files[1])
    assert not holder.reload()
    assert "tls.key" in holder.fault
    assert await serial() == before
    other.cert_chain_pems[0].write_to_path(files[0])
    assert holder.reload()
    assert holder.fault == ""
    assert await serial() != before
    files[0].unlink()
    assert not holder.reload()
    assert await serial() != before


def test_tl_11_changed_files_are_noticed(authority: trustme.CA, tmp_path: Path) -> None:
    files = tmp_path / "tls.crt", tmp_path / "tls.key"

    def issue() -> None:
        issued = authority.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])

    issue()
    holder = Certificate(*files)
    first = holder.current()
    assert holder.current() is first
    issue()
    holder.look_again()
    assert holder.current() is not first


@pytest.mark.parametrize("wrong", ["missing", "not PEM", "swapped", "other key"])
def test_a_bad_pair_is_refused_with_its_reason(
    wrong: str, authority: trustme.CA, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = pair
    if wrong == "missing":
        certificate = tmp_path / "none"
    elif wrong == "not PEM":
        certificate = tmp_path / "text"
        certificate.write_text("hello")
    elif wrong == "swapped":
        certificate, key = key, certificate
    else:
        key = tmp_path / "key"
        authority.issue_cert("localhost").private_key_pem.write_to_path(key)
    with pytest.raises(ConfigError, match=r"tls\.(key|certificate)"):
        Certificate(certificate, key)


@pytest.mark.parametrize("name", ["x" * 250, "xn--a", "a.b.c.d.e.f"])
async def test_tl_12_odd_server_names_do_no_harm(service: Service, name: str) -> None:
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        lax = ssl.create_default_context()
        lax.check_hostname, lax.verify_mode = False, ssl.CERT_NONE
        try:
            await client.handshake(lax, name)
        except (ssl.SSLError, ConnectionError, ValueError, UnicodeError):
            return
        await client.expect("EHLO client.example", "250")


async def test_implicit_tls_offers_login_at_once(services: Services) -> None:
    service = await services.start(name="submissions", implicit=True)
    async with await service.connect() as client:
        await client.handshake(service.context)
        assert (await client.reply()).startswith("220")
        offer = await client.ask("EHLO client.example")
        assert "AUTH PLAIN LOGIN" in offer
        assert "STARTTLS" not in offer
        await client.expect(b"AUTH PLAIN " + plain(password=PASSWORD), "235")
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")


async def test_commands_may_follow_the_handshake_at_once(service: Service) -> None:
    """What comes with the client's last handshake flight is protected, and is answered."""
    async with await greeted(service) as client:
        await client.expect("STARTTLS", "220")
        await client.handshake(service.context, then=b"EHLO client.example\r\n")
        assert (await client.reply()).startswith("250")


async def test_without_a_certificate_there_is_no_starttls(services: Services) -> None:
    service = await services.start(certificate=None, door=SmallDoor(needs_login=False))
    async with await service.connect() as client:
        await client.reply()
        assert "STARTTLS" not in await client.ask("EHLO client.example")
        await client.expect("STARTTLS", "502")


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_client_that_leaves_before_the_handshake_does_no_harm(service: Service, how: str) -> None:
    for _ in range(5):
        client = await greeted(service)
        await client.send(b"STARTTLS\r\n")
        if how == "close":
            client.writer.close()
        else:
            client.writer.transport.abort()
    async with asyncio.timeout(5):
        while service.shared.open:  # noqa: ASYNC110 - a count that tells nobody
            await asyncio.sleep(0.01)
