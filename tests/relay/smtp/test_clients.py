"""Mail clients of others against a live listener; those that are not installed are skipped."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING

import aiosmtplib
import pytest

from tests.relay.smtp.harness import LOGIN, PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.relay.smtp.harness import Service, Services

BODY = "Dots:\n.\n..two\n.three\nGrüße\n"


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = LOGIN, "b@example.net", "From a client of others"
    made.set_content(BODY, cte="8bit")
    return made


@pytest.fixture
def message_file(tmp_path: Path) -> Path:
    path = tmp_path / "message.eml"
    path.write_bytes(message().as_bytes())
    return path


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


async def run(*command: str | Path, stdin: bytes = b"") -> str:
    program = shutil.which(str(command[0]))
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    process = await asyncio.create_subprocess_exec(
        program,
        *(str(word) for word in command[1:]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate(stdin)
    if b"TLS not available" in said:
        pytest.skip(f"{command[0]} has no TLS here")
    assert process.returncode == 0, said.decode("utf-8", "replace")
    return said.decode("utf-8", "replace")


def arrived(service: Service) -> None:
    (taken,) = service.door.messages
    assert taken.login == LOGIN
    assert taken.recipients == ("b@example.net",)
    text = taken.text.decode()
    assert text.startswith(("From:", "Received:", "Date:", "Message-"))
    assert BODY.replace("\n", "\r\n") in text + "\r\n"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("implicit", [False, True])
async def test_swaks(services: Services, message_file: Path, mechanism: str, implicit: bool) -> None:  # noqa: FBT001
    service = await services.start(implicit=implicit)
    tls = "--tls-on-connect" if implicit else "--tls"
    await run(
        "swaks", "--server", f"127.0.0.1:{service.port}", tls, "--auth", mechanism, "--auth-user", LOGIN,
        "--auth-password", PASSWORD, "--from", LOGIN, "--to", "b@example.net", "--data", f"@{message_file}",
    )  # fmt: skip
    arrived(service)


async def test_swaks_pipelined(service: Service, message_file: Path) -> None:
    await run(
        "swaks", "--server", f"127.0.0.1:{service.port}", "--tls", "--auth", "PLAIN", "--auth-user", LOGIN,
        "--auth-password", PASSWORD, "--from", LOGIN, "--to", "b@example.net", "--data", f"@{message_file}",
        "--pipeline",
    )  # fmt: skip
    arrived(service)


@pytest.mark.parametrize("implicit", [False, True])
async def test_curl(services: Services, message_file: Path, authority_file: Path, implicit: bool) -> None:  # noqa: FBT001
    service = await services.start(implicit=implicit)
    await run(
        "curl", "--silent", "--show-error", "--crlf", "--ssl-reqd", "--cacert", authority_file,
        f"{'smtps' if implicit else 'smtp'}://localhost:{service.port}/client.example", "--ipv4",
        "--user", f"{LOGIN}:{PASSWORD}", "--mail-from", LOGIN, "--mail-rcpt", "b@example.net",
        "--upload-file", message_file,
    )  # fmt: skip
    arrived(service)


async def test_msmtp(service: Service, authority_file: Path) -> None:
    await run(
        "msmtp", "--file=/dev/null", "--host=localhost", f"--port={service.port}", "--tls=on",
        "--tls-starttls=on", f"--tls-trust-file={authority_file}", "--auth=plain", f"--user={LOGIN}",
        f"--passwordeval=echo {PASSWORD}", f"--from={LOGIN}", "b@example.net", stdin=message().as_bytes(),
    )  # fmt: skip
    arrived(service)


async def test_smtplib(service: Service, context: ssl.SSLContext) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", service.port, source_address=("127.0.0.1", 0)) as client:
            client.starttls(context=context)
            client.login(LOGIN, PASSWORD)
            client.send_message(message())

    await asyncio.to_thread(send)
    arrived(service)


@pytest.mark.parametrize("implicit", [False, True])
async def test_aiosmtplib(services: Services, context: ssl.SSLContext, implicit: bool) -> None:  # noqa: FBT001
    service = await services.start(implicit=implicit)
    client = aiosmtplib.SMTP(
        hostname="localhost", port=service.port, use_tls=implicit, start_tls=not implicit,
        tls_context=context, username=LOGIN, password=PASSWORD,
    )  # fmt: skip
    async with client:
        await client.send_message(message())
        await client.send_message(message())
    assert len(service.door.messages) == 2
