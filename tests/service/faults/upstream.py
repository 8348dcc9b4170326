"""A strict customer's server that records: correct SMTP only, each byte accounted for.

The recipient's name says how it is treated: `now` is taken; `later` and `bad` are put off at the first offer,
and `bad` is refused for good from then on; `dot` is put off at its first dot; `cut` loses its first dot.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.service.harness import PATIENCE_SECONDS

if TYPE_CHECKING:
    from typing import BinaryIO

    from tests.service.faults.book import Book, Entry

_PATH = re.compile(rb"(?:MAIL FROM|RCPT TO):<([^<> ]*)>((?: [!-~]+)*)\r\n")
_LATER, _NEVER = b"451 4.3.0 not now\r\n", b"550 5.7.1 never\r\n"
_SMALL_BUFFER = 4096


@dataclass
class _Transaction:
    sender: bytes
    people: list[str] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)


class Upstream:
    """One thread a connection; `open` and `said` tell where a kill fell."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.lock = threading.RLock()
        self.connections = 0
        #: messages whose text is being read or judged
        self.open: set[int] = set()
        #: messages that were just said to be taken
        self.said: set[int] = set()
        #: seconds of silence after 354, and before the answer to a dot
        self.pause = 0.0
        #: it dies after so many more bytes said, or heard
        self.dies_after_saying: int | None = None
        self.dies_after_hearing: int | None = None
        #: it says nothing at this stage: greeting, EHLO, MAIL or RCPT
        self.silent = ""
        #: how often it has begun to say nothing
        self.hushed = 0
        #: every recipient is put off
        self.refuses_all = False
        #: recipients that were offered
        self.tried = 0
        self._offers: Counter[str] = Counter()
        self._dots: Counter[int] = Counter()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                talk, _ = self._listening.accept()
                with self.lock:
                    self.connections += 1
                threading.Thread(target=self._serve, args=(talk,), daemon=True).start()

    def _serve(self, talk: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), talk, talk.makefile("rb") as reader:
                talk.settimeout(PATIENCE_SECONDS)
                self._talk(talk, reader)
        finally:
            with self.lock:
                self.connections -= 1

    def _say(self, talk: socket.socket, data: bytes) -> None:
        with self.lock:
            limit = self.dies_after_saying
            if limit is not None:
                self.dies_after_saying = limit - len(data) if limit > len(data) else None
        if limit is not None and limit <= len(data):
            talk.sendall(data[:limit])
            raise ConnectionResetError
        talk.sendall(data)

    def _hear(self, reader: BinaryIO) -> bytes:
        line = reader.readline()
        with self.lock:
            limit = self.dies_after_hearing
            if limit is not None:
                self.dies_after_hearing = limit - len(line) if limit > len(line) else None
        if limit is not None and limit <= len(line):
            raise ConnectionResetError
        return line

    def _hush(self, stage: str) -> None:
        with self.lock:
            self.hushed += self.silent == stage
        while self.silent == stage:
            time.sleep(0.05)

    def _wrong(self, what: str) -> None:
        self.book.faults.append(f"the customer's server was told {what}")

    def _talk(self, talk: socket.socket, reader: BinaryIO) -> None:
        self._hush("greeting")
        self._say(talk, b"220 strict.example ESMTP\r\n")
        deal: _Transaction | None = None
        while line := self._hear(reader):
            if not line.endswith(b"\r\n"):
                return  # cut off in the middle of a command
            verb = line[:4].upper()
            self._hush(verb.decode("ascii", "replace"))
            if verb in (b"EHLO", b"RSET", b"NOOP"):
                deal = None if verb != b"NOOP" else deal
                self._say(talk, b"250-strict.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n"
                             if verb == b"EHLO" else b"250 2.0.0 ok\r\n")  # fmt: skip
            elif verb == b"MAIL" and deal is None and (path := _PATH.fullmatch(line)):
                deal = _Transaction(path[1])
                self._say(talk, b"250 2.1.0 ok\r\n")
            elif verb == b"RCPT" and deal is not None and (path := _PATH.fullmatch(line)):
                self._say(talk, self._rcpt(deal, path[1].decode()))
            elif verb == b"DATA" and deal is not None:
                if not deal.people:
                    self._say(talk, b"554 5.5.1 no valid recipients\r\n")
                    continue
                if not self._text(talk, reader, deal):
                    return
                deal = None
            elif verb == b"QUIT":
                self._say(talk, b"221 2.0.0 bye\r\n")
                return
            else:
                self._wrong(repr(line[:80]))
                return

    def _rcpt(self, deal: _Transaction, address: str) -> bytes:
        kind = address.partition("-")[0]
        entry = None if deal.sender == b"" else self._entry(address)
        with self.lock:
            self._offers[address] += 1
            self.tried += 1
            if self.refuses_all:
                return _LATER
            first = self._offers[address] == 1
        if entry is not None and kind in ("later", "bad") and first:
            return _LATER
        if entry is not None and kind == "bad":
            self.book.note("refusing", entry)
            entry.refused = True
            return _NEVER
        deal.people.append(address)
        return b"250 2.1.5 ok\r\n"

    def _entry(self, address: str) -> Entry:
        return self.book.entries[int(address.partition("@")[0].rpartition("-")[2])]

    def _text(self, talk: socket.socket, reader: BinaryIO, deal: _Transaction) -> bool:
        """Read a message and answer its dot; False to hang up."""
        entry = None if deal.sender == b"" else self._entry(deal.people[0])
        number = -1 if entry is None else entry.number
        with self.lock:
            self.open.add(number)
        try:
            self._say(talk, b"354 go\r\n")
            if entry is not None:
                self.book.note("go", entry)
            raw = self._read(reader)
            if raw is None:
                return False
            time.sleep(self.pause)
            return self._judge(talk, deal, entry, raw)
        finally:
            with self.lock:
                self.open.discard(number)

    def _read(self, reader: BinaryIO) -> bytes | None:
        lines = []
        while (line := self._hear(reader)) != b".\r\n":
            if not line.endswith(b"\r\n"):
                return None  # cut off: the message is not ours
            if b"\r" in line[:-2]:
                self._wrong("a bare CR")
            if line.startswith(b".") and not line.startswith(b".."):
                self._wrong("a dot that was not doubled")
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    def _judge(self, talk: socket.socket, deal: _Transaction, entry: Entry | None, raw: bytes) -> bool:
        if entry is not None and entry.kind in ("dot", "cut"):
            with self.lock:
                self._dots[entry.number] += 1
                first = self._dots[entry.number] == 1
            if first and entry.kind == "cut":
                return False
            if first:
                self._say(talk, _LATER)
                return True
        about = self.book.arrived(raw, deal.sender, deal.people)
        if entry is not None:
            with self.lock:
                self.open.discard(entry.number)
                self.said.add(entry.number)
        try:
            self._say(talk, b"250 2.0.0 stored\r\n")
        except ConnectionResetError:
            for one in deal.people:  # nobody can know that it was taken: it comes once more
                about.limit[one] += 1
            about.bounce_limit += entry is None
            raise
        self.book.note("said" if entry is not None else "said bounce", about)
        return True
