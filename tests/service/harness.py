"""The real daemon, a real customer's server that records, and the real command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import smtplib
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from aiosmtpd.smtp import SMTP
from click.testing import CliRunner

from relay.cli import main
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
#: For what has no time limit of its own.
PATIENCE_SECONDS = 150


def until(fact: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask until the answer is true, and return it; AssertionError if it does not come."""
    deadline = steady() + seconds
    while True:
        late = steady() > deadline  # before it is asked: the answer may take a while
        answer = fact()
        if answer or late:
            assert answer, "the fact did not come"
            return answer
        time.sleep(0.05)


@dataclass
class Stored:
    """One message as the customer's server got it."""

    sender: str
    recipients: list[str]
    raw: bytes
    options: list[str] = field(default_factory=list)


class CustomerServer:
    """A customer's mail server in a thread of its own; `replies` overrides the answer to RCPT or the dot."""

    def __init__(self) -> None:
        self.messages: list[Stored] = []
        self.replies: dict[str, str] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: object, envelope: Any, address: str, options: list[str]
    ) -> str:
        reply = self.replies.get(address) or self.replies.get("RCPT")
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Any) -> str:  # noqa: N802
        if reply := self.replies.get("DATA"):
            return reply
        self.messages.append(
            Stored(
                envelope.mail_from,
                list(envelope.rcpt_tos),
                envelope.original_content,
                list(envelope.mail_options),
            )
        )
        return "250 2.0.0 stored"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def main() -> None:
            server = await self._loop.create_server(
                lambda: SMTP(
                    self,
                    hostname="mail.customer.example",
                    loop=self._loop,
                    data_size_limit=64 << 20,
                    enable_SMTPUTF8=True,
                ),
                "127.0.0.1",
                self.port,
            )
            self.port = server.sockets[0].getsockname()[1]
            self._server = server
            self._started.set()

        self._loop.run_until_complete(main())
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(PATIENCE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)


class TlsSocket(ssl.SSLSocket):
    """A client's socket, closed where the server is gone before the handshake; CPython leaves it open."""

    def getpeername(self) -> Any:
        """Return the peer; ConnectionResetError, the socket closed, if there is none any more."""
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(f"no peer: {error}") from None


class Process(Protocol):
    """A daemon that runs."""

    pid: int
    stdout: IO[str] | None

    def send_signal(self, sig: signal.Signals, /) -> None: ...
    def wait(self, timeout: float, /) -> int: ...


class Relay:
    """`gatepost serve` in a folder of its own; everything listens on loopback, on ports of its choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "gatepost.toml"
        self.listeners: dict[str, str] = {}
        self.passwords: dict[str, str] = {}
        self.process: Process | None = None
        self.staff: dict[str, str] = {}
        #: more environment variables of the daemon
        self.environment: dict[str, str] = {}

    # --- the command line

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one gatepost command, in this process: the program's imports take a second."""
        done = CliRunner().invoke(main, ["-c", str(self.config), *arguments], input=stdin)
        assert not check or done.exit_code == 0, f"{arguments}: exit {done.exit_code}\n{done.output}"
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        """Run one command with --json and return what it says."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run one command that prints a JSON line for each thing."""
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]

    def init(self, *options: str) -> None:
        """Write configuration and keys."""
        ports = [
            part
            for name in ("submission", "submissions", "feedback", "http")
            for part in (f"--{name}-port", "0")
        ]
        done = self.run(
            "init",
            str(self.folder),
            "--hostname",
            "relay.example",
            "--bind",
            "127.0.0.1",
            *ports,
            "--json",
            *options,
        )
        self.staff = json.loads(done.stdout)["staff"]

    def account(self, login: str, customer: str, *options: str) -> str:
        """Add an account and return its password."""
        self.passwords[login] = self.json("account", "add", login, "--customer", customer, *options)[
            "password"
        ]
        return self.passwords[login]

    def configure(self, section: str, text: str) -> None:
        """Set lines in a section of the configuration."""
        lines = self.config.read_text()
        assert f"[{section}]\n" in lines
        self.config.write_text(lines.replace(f"[{section}]\n", f"[{section}]\n{text}\n"))

    # --- the daemon

    def start(self) -> Self:
        """Serve until `stop`."""
        self.process = self._launch()
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline() if readable else ""
        assert line, f"serve did not start:\n{self.log()}"
        ready = json.loads(line)
        assert ready["event"] == "ready"
        self.listeners = ready["listeners"]
        return self

    def _launch(self) -> Process:
        log = (self.folder / "serve.log").open("a")
        command = [sys.executable, "-m", "relay", "-c", str(self.config), "serve"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= self.environment
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        log.close()
        return process

    def stop(self) -> int:
        """End the daemon as an operator does; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def reload(self) -> dict[str, Any]:
        """Have the configuration read again, and return the event that says how it went."""
        assert self.process is not None
        before = len(self.events("config_reloaded"))
        self.process.send_signal(signal.SIGHUP)
        until(lambda: len(self.events("config_reloaded")) > before)
        return self.events("config_reloaded")[-1]

    def kill(self) -> None:
        """Kill every process of the daemon, as a power cut does."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait_for_death(self) -> None:
        """Wait until the killed daemon is gone."""
        assert self.process is not None
        self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def log(self) -> str:
        """Return what the daemon logged."""
        return (self.folder / "serve.log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the logged events of one kind."""
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == name]

    def address(self, listener: str) -> tuple[str, int]:
        """Return host and port of a listener."""
        host, _, port = self.listeners[listener].rpartition(":")
        return host, int(port)

    def metrics(self) -> str:
        """Return the page of numbers."""
        host, port = self.address("http")
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
            text: str = answer.read().decode()
        return text

    def trust(self) -> ssl.SSLContext:
        """Return a client's TLS context that trusts this relay."""
        context = ssl.create_default_context(cafile=str(self.folder / "keys/tls.crt"))
        context.check_hostname = False
        context.sslsocket_class = TlsSocket
        return context

    def client(self, login: str, password: str | None = None) -> smtplib.SMTP:
        """Return an ordinary client after STARTTLS and AUTH."""
        client = smtplib.SMTP(*self.address("submission"), timeout=PATIENCE_SECONDS)
        try:
            client.starttls(context=self.trust())
            client.login(login, self.passwords[login] if password is None else password)
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.kill()
            self.wait_for_death()
