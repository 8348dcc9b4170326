"""Clients that never rest: each sends one message after the other and writes down what it heard."""

from __future__ import annotations

import contextlib
import random
import ssl
import threading
from typing import TYPE_CHECKING

from tests.service.faults.book import KINDS, SENDER
from tests.service.harness import PATIENCE_SECONDS
from tests.service.wire import Client

if TYPE_CHECKING:
    from tests.service.faults.book import Book, Entry
    from tests.service.harness import Relay

#: Of the messages whose connection broke, so many are sent again, byte for byte, as some clients do.
AGAIN = 0.5
LARGE = 0.2


class Load:
    """Several sessions; `let_in` while the daemon is up, `quiet` when all have lost their connection."""

    def __init__(self, relay: Relay, book: Book, sessions: int, seed: int) -> None:
        self.relay = relay
        self.book = book
        self.kinds = KINDS
        self._open = threading.Event()
        self._ended = threading.Event()
        self._changed = threading.Condition()
        #: how often the doors were shut, and how often each session has seen it
        self._shut = 0
        self._seen = [0] * sessions
        self._threads = [
            threading.Thread(target=self._run, args=(n, seed), daemon=True) for n in range(sessions)
        ]
        for thread in self._threads:
            thread.start()

    def let_in(self) -> None:
        """Let every session connect."""
        with self._changed:
            self._open.set()
            self._changed.notify_all()

    def shut(self) -> None:
        """Let nobody connect again."""
        with self._changed:
            self._open.clear()
            self._shut += 1

    def quiet(self) -> None:
        """Wait until every session has lost its connection; call `shut` first."""
        with self._changed:
            done = self._changed.wait_for(lambda: min(self._seen) == self._shut, timeout=PATIENCE_SECONDS)
        assert done, "a client still waits for its answer"

    def end(self) -> None:
        """End all sessions."""
        self._ended.set()
        self.let_in()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a client hangs"

    def _run(self, number: int, seed: int) -> None:
        dice = random.Random(seed + number)  # noqa: S311 - a load that can be repeated
        broken: Entry | None = None
        while not self._ended.is_set():
            with self._changed:
                if not self._open.is_set():
                    if self._seen[number] != self._shut:  # else all would wake each other for ever
                        self._seen[number] = self._shut
                        self._changed.notify_all()
                    self._changed.wait(1)
                    continue
            broken = self._session(dice, broken)

    def _session(self, dice: random.Random, broken: Entry | None) -> Entry | None:
        """Send until the connection breaks; return the message that it broke in."""
        entry: Entry | None = None
        with contextlib.suppress(OSError, ssl.SSLError, AssertionError), Client(self.relay, SENDER) as client:
            if broken is not None and dice.random() < AGAIN:
                entry, broken = broken, None
                self.book.again(entry)
                submit(self.book, client, entry)
            while self._open.is_set() and not self._ended.is_set():
                entry = self.book.new(dice.choice(self.kinds), large=dice.random() < LARGE)
                submit(self.book, client, entry)
            entry = None
        if entry is not None and entry.phase != "answered":
            self.book.answered(entry, b"")
            return entry
        return broken


def submit(book: Book, client: Client, entry: Entry) -> None:
    """Send one message and note its end; ConnectionError without an answer, and after a refusal."""
    at = book.at
    at(entry, "mail")
    answer = _said(client.say(b"MAIL FROM:<%s>" % SENDER.encode()))
    for one in entry.people:
        if answer.startswith(b"250"):
            at(entry, "rcpt")
            answer = _said(client.say(b"RCPT TO:<%s>" % one.encode()))
    if answer.startswith(b"250"):
        answer = _said(client.say(b"DATA"))
    if answer.startswith(b"354"):
        wire = entry.raw.replace(b"\r\n.", b"\r\n..")
        at(entry, "text")
        client.send(wire[: len(wire) // 2])
        at(entry, "half")
        client.send(wire[len(wire) // 2 :])
        client.send(b".\r\n")
        at(entry, "dot")
        answer = _said(client.reply())
    book.answered(entry, answer)
    if not answer.startswith(b"250"):
        raise ConnectionError("begin anew after a refusal")


def _said(answer: bytes) -> bytes:
    if not answer.endswith(b"\r\n"):
        raise ConnectionError
    return answer
