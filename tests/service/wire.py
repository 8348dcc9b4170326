"""Both ends of the wire, byte by byte: a customer's server that misbehaves on order, and a raw client."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tests.service.harness import Relay

SECONDS = 60.0


@dataclass(frozen=True)
class Arrived:
    """One message as it stood on the wire, dot-stuffing undone."""

    mail: bytes
    rcpts: tuple[bytes, ...]
    raw: bytes

    @property
    def header(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


class NextHop:
    """A customer's server of one thread per connection; its attributes say how it answers."""

    def __init__(self) -> None:
        self.port = 0
        self._listening: socket.socket | None = None
        self.friendly()

    def friendly(self) -> None:
        """Forget everything and take all mail."""
        self.messages: list[Arrived] = []
        self.commands: list[bytes] = []
        self.rcpt: dict[bytes, bytes] = {}
        self.dot = b"250 2.0.0 stored\r\n"
        self.dots = 0
        self.dot_seconds = 0.0
        self.hang_up_after_dot = False
        self.offers: tuple[bytes, ...] = (b"PIPELINING", b"8BITMIME", b"SIZE 99999999", b"SMTPUTF8")

    def up(self) -> None:
        """Accept connections, always on the same port."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port, self._listening = listening.getsockname()[1], listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections; those that exist are cut with their next command."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                talk, _ = listening.accept()
                threading.Thread(target=self._serve, args=(talk, listening), daemon=True).start()

    def _serve(self, talk: socket.socket, listening: socket.socket) -> None:
        with contextlib.suppress(OSError), talk, talk.makefile("rb") as reader:
            talk.sendall(b"220 next.example\r\n")
            mail, rcpts = b"", list[bytes]()
            while line := reader.readline():
                if self._listening is not listening:
                    return
                self.commands.append(line)
                match line[:4].upper():
                    case b"EHLO":
                        talk.sendall(b"".join(b"250-%s\r\n" % word for word in self.offers) + b"250 HELP\r\n")
                    case b"MAIL" if mail:
                        talk.sendall(b"503 5.5.1 nested MAIL\r\n")
                    case b"MAIL":
                        mail, rcpts = line.strip(), []
                        talk.sendall(b"250 2.1.0 ok\r\n")
                    case b"RCPT":
                        talk.sendall(self._rcpt(line, rcpts))
                    case b"DATA":
                        talk.sendall(b"354 go\r\n")
                        if not self._text(talk, reader, mail, rcpts):
                            return
                        mail = b""
                    case b"QUIT":
                        talk.sendall(b"221 bye\r\n")
                        return
                    case _:
                        mail = b"" if line[:4].upper() == b"RSET" else mail
                        talk.sendall(b"250 ok\r\n")

    def _rcpt(self, line: bytes, rcpts: list[bytes]) -> bytes:
        address = line.partition(b"<")[2].rpartition(b">")[0]
        reply = self.rcpt.get(address, b"250 2.1.5 ok\r\n")
        if reply.startswith(b"2"):
            rcpts.append(address)
        return reply

    def _text(self, talk: socket.socket, reader: BinaryIO, mail: bytes, rcpts: list[bytes]) -> bool:
        """Read a message and answer its dot; False to hang up."""
        lines = []
        while (text := reader.readline()) not in (b".\r\n", b""):
            lines.append(text.removeprefix(b"."))
        if not text:
            return False
        self.dots += 1
        if self.hang_up_after_dot:
            return False
        time.sleep(self.dot_seconds)
        if self.dot.startswith(b"2"):
            self.messages.append(Arrived(mail, tuple(rcpts), b"".join(lines)))
        talk.sendall(self.dot)
        return True


class Client:
    """A client on the door with implicit TLS that sends bytes as they are."""

    def __init__(self, relay: Relay, login: str) -> None:
        with contextlib.ExitStack() as failed:
            plain = socket.create_connection(relay.address("submissions"), SECONDS)
            failed.callback(plain.close)
            self.address: tuple[str, int] = plain.getsockname()
            self._talk = relay.trust().wrap_socket(plain)
            failed.callback(self._talk.close)
            self._reader = self._talk.makefile("rb")
            failed.callback(self._reader.close)
            self.reply()
            self.say(b"EHLO client.example")
            token = base64.b64encode(f"\0{login}\0{relay.passwords[login]}".encode())
            assert self.say(b"AUTH PLAIN " + token).startswith(b"235")
            failed.pop_all()

    def send(self, data: bytes) -> None:
        self._talk.sendall(data)

    def reply(self) -> bytes:
        """Return one reply, all its lines; empty when the server hung up."""
        lines = b""
        while line := self._reader.readline():
            lines += line
            if line[3:4] != b"-":
                break
        return lines

    def say(self, line: bytes) -> bytes:
        self.send(line + b"\r\n")
        return self.reply()

    def envelope(self, sender: bytes, *recipients: bytes) -> list[bytes]:
        """Say MAIL and RCPT; return the replies."""
        replies = [self.say(b"MAIL FROM:<%s>" % sender)]
        return replies + [self.say(b"RCPT TO:<%s>" % recipient) for recipient in recipients]

    def text(self, raw: bytes) -> bytes:
        """Say DATA and the message as given, then the dot; return the answer to it."""
        answer = self.say(b"DATA")
        assert answer.startswith(b"354"), answer
        self.send(raw + b".\r\n")
        return self.reply()

    def submit(self, sender: bytes, recipient: bytes, raw: bytes) -> bytes:
        """Send one message; return the first refusal, or the answer to the dot."""
        for reply in self.envelope(sender, recipient):
            if not reply.startswith(b"2"):
                return reply
        return self.text(raw)

    def reset(self) -> None:
        """Go without a word: RST."""
        self._talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._reader.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            self._talk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
