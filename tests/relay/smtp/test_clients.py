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


async def run(*command: str | Path, stdin: bytes = b"", seconds: float = 30) -> str:
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
    async with asyncio.timeout(seconds):
        said, _ = await process.communicate(stdin)
    if b"TLS not available" in said:
        pytest.skip(f"{command[0]} has no TLS here")
    for absent in (b"Cannot find module", b"Failed opening required", b"Can't locate"):
        if absent in said:
            pytest.skip(f"{command[0]} lacks a library: {said.decode('utf-8', 'replace')[:200]}")
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


NODEMAILER = """
const mailer = require("nodemailer");
const [port, secure, user, pass] = process.argv.slice(1);
const transport = mailer.createTransport({host: "127.0.0.1", port, secure: secure === "true",
    requireTLS: secure !== "true", tls: {rejectUnauthorized: false}, auth: {user, pass}});
transport.sendMail({envelope: {from: user, to: ["b@example.net"], dsn: {id: "n1", return: "headers",
    notify: ["failure", "delay"], recipient: "b@example.net"}}, raw: require("fs").readFileSync(0)},
    (error) => { transport.close(); if (error) { console.error(error); process.exit(1); } });
"""


@pytest.mark.parametrize("implicit", [False, True])
async def test_nodemailer(services: Services, implicit: bool) -> None:  # noqa: FBT001
    service = await services.start(implicit=implicit)
    arguments = (str(service.port), str(implicit).lower(), LOGIN, PASSWORD)
    await run("node", "-e", NODEMAILER, *arguments, stdin=message().as_bytes())
    arrived(service)
    assert service.door.messages[0].mail.ret == "HDRS"


GO = """
package main

import ("crypto/tls"; "io"; "net/smtp"; "os")

func check(err error) { if err != nil { println(err.Error()); os.Exit(1) } }

func main() {
	client, err := smtp.Dial("127.0.0.1:" + os.Args[1]); check(err)
	check(client.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "127.0.0.1"}))
	check(client.Auth(smtp.PlainAuth("", os.Args[2], os.Args[3], "127.0.0.1")))
	check(client.Mail(os.Args[2])); check(client.Rcpt("b@example.net"))
	body, err := client.Data(); check(err)
	_, err = io.Copy(body, os.Stdin); check(err)
	check(body.Close()); check(client.Quit())
}
"""


@pytest.mark.timeout(120)
async def test_go(service: Service, tmp_path: Path) -> None:
    source = tmp_path / "send.go"
    source.write_text(GO)
    await run(
        "go", "run", source, str(service.port), LOGIN, PASSWORD, stdin=message().as_bytes(), seconds=110
    )
    arrived(service)


PHPMAILER = """
foreach (["Exception", "SMTP", "PHPMailer"] as $part)
    require "/usr/share/php/libphp-phpmailer/src/$part.php";
$mail = new PHPMailer\\PHPMailer\\PHPMailer(true);
$mail->isSMTP(); $mail->Host = "127.0.0.1"; $mail->Port = $argv[1]; $mail->SMTPAuth = true;
$mail->Username = $argv[3]; $mail->Password = $argv[4]; $mail->SMTPSecure = $argv[2];
$mail->SMTPOptions = ["ssl" => ["verify_peer" => false, "verify_peer_name" => false]];
$mail->setFrom($argv[3]); $mail->addAddress("b@example.net"); $mail->CharSet = "utf-8";
$mail->Subject = "From PHP"; $mail->Encoding = "8bit"; $mail->Body = file_get_contents("php://stdin");
$mail->send();
"""


@pytest.mark.parametrize("security", ["tls", "ssl"])
async def test_phpmailer(services: Services, security: str) -> None:
    service = await services.start(implicit=security == "ssl")
    arguments = (str(service.port), security, LOGIN, PASSWORD)
    await run("php", "-r", PHPMAILER, "--", *arguments, stdin=BODY.encode())
    arrived(service)


PERL = r"""
use Net::SMTP; use Authen::SASL; use IO::Socket::SSL;
my ($port, $ssl, $user, $password) = @ARGV;
my $smtp = Net::SMTP->new("127.0.0.1", Port => $port, SSL => $ssl, SSL_verify_mode => 0) or die "connect: $@";
$ssl or $smtp->starttls(SSL_verify_mode => 0) or die $smtp->message;
$smtp->auth($user, $password) or die $smtp->message;
$smtp->mail($user) && $smtp->to("b\@example.net") && $smtp->data(<STDIN>) or die $smtp->message;
$smtp->quit;
"""


@pytest.mark.parametrize("implicit", [False, True])
async def test_perl(services: Services, implicit: bool) -> None:  # noqa: FBT001
    service = await services.start(implicit=implicit)
    arguments = (str(service.port), str(int(implicit)), LOGIN, PASSWORD)
    await run("perl", "-e", PERL, *arguments, stdin=message().as_bytes())
    arrived(service)
