"""Logging in: what SASL says, whether a password is right, and who has failed too often.

Parsing is pure. `Passwords` runs argon2id in a few threads and remembers good passwords under a key that
lives only in this process. `Failures` counts so that guessing is slow and nobody is locked out of an account
or an office: a different wrong password counts once, and a login that worked from an address before keeps a
count of its own there.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from relay.clock import monotonic
from relay.errors import Deferred
from relay.passwords import unmatched
from relay.smtp import reply as replies
from relay.smtp.board import Board, News

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from relay.smtp.reply import Reply

LOGIN_LETTERS = 254
PASSWORD_OCTETS = 1024
#: Waiting verifications per thread; one takes about 20 ms.
_WAITING_PER_THREAD = 32
#: Remembered passwords and known client addresses: more are forgotten, oldest first.
_REMEMBERED = 100_000
#: Clients and logins whose failures are counted; each may hold a dozen.
_COUNTED = 10_000
_WINDOW_SECONDS = 15 * 60.0
_KNOWN_SECONDS = 30 * 86_400.0
#: A login that works again and again from one address is news to the node's other processes so often.
_NEWS_SECONDS = 3600.0
#: What a login that is guessed at from many addresses costs an address that never logged in with it.
_SLOW_DOWN_SECONDS = 2.0


class Busy(Deferred):
    """Too many logins wait already."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a client says it is."""

    login: str
    password: str = field(repr=False)


def decode(text: bytes) -> bytes | Reply:
    """Decode one SASL response (RFC 4954 §4): strict base64, `=` is empty, `*` cancels."""
    if text == b"*":
        return replies.LOGIN_CANCELLED
    if text == b"=":
        return b""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return replies.BAD_BASE64


def plain(response: bytes) -> Login | Reply:
    """Parse PLAIN (RFC 4616): authzid NUL authcid NUL password; nobody acts for another."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        return replies.BAD_LOGIN_FORM
    if parts[0] not in (b"", parts[1]):
        return replies.BAD_LOGIN
    return login(parts[1], parts[2])


def login(name: bytes, password: bytes) -> Login | Reply:
    """Check what PLAIN or LOGIN gave: a readable name, some password."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return replies.BAD_LOGIN
    if not text or not password or b"\0" in name + password:
        return replies.BAD_LOGIN
    if len(text) > LOGIN_LETTERS or len(password) > PASSWORD_OCTETS:
        return replies.BAD_LOGIN
    usual = text.isascii() and text.isprintable() and " " not in text
    if not usual and any(unicodedata.category(letter)[0] in "CZ" for letter in text):
        # controls, blanks, bidirectional marks: never in a login, often in an attack
        return replies.BAD_LOGIN
    return Login(text, password.decode("utf-8", "surrogateescape"))


#: OWASP's parameters: 19 MiB, 2 passes, 1 lane; about 20 ms.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _check(hashes: Sequence[str], password: bytes) -> bool:
    for stored in hashes:
        try:
            if _HASHER.verify(stored, password):
                return True
        except (Argon2Error, InvalidHashError):
            continue
    return False


class Passwords:
    """Verifies passwords off the event loop and remembers the good ones for a while."""

    def __init__(self, threads: int, remember: timedelta) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._most_waiting = threads * _WAITING_PER_THREAD
        self._remember_seconds = remember.total_seconds()
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, float] = {}
        self._flights: dict[bytes, asyncio.Future[bool]] = {}
        #: what an unknown login is compared with, so that it takes as long as a known one
        self._nobody = (unmatched(_HASHER),)

    @staticmethod
    def hash(password: str) -> str:
        """Return the argon2id hash that the store keeps; about 20 ms."""
        return _HASHER.hash(password.encode("utf-8", "surrogateescape"))

    async def verify(self, login: str, password: str, hashes: Sequence[str]) -> bool:
        """Tell whether `password` fits one of `hashes` (none: no such login); Busy when too many wait.

        A new or changed hash takes effect at once: what is remembered is the password with its hashes.
        """
        secret = password.encode("utf-8", "surrogateescape")
        key = self._digest(login.encode(), secret, *(stored.encode() for stored in hashes))
        if self._good.get(key, 0.0) > monotonic():
            return True
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= self._most_waiting:
                raise Busy("too many logins are being verified")
            job = self._pool.submit(_check, hashes or self._nobody, secret)
            flight = asyncio.wrap_future(job)
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        good = await asyncio.shield(flight) and bool(hashes)
        if good:
            self._remember(key)
        return good

    def close(self) -> None:
        """Give the threads back."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _digest(self, *parts: bytes) -> bytes:
        mac = hmac.new(self._key, digestmod="sha256")
        for part in parts:
            mac.update(len(part).to_bytes(4, "big"))
            mac.update(part)
        return mac.digest()

    def _remember(self, key: bytes) -> None:
        now = monotonic()
        self._good.pop(key, None)
        self._good[key] = now + self._remember_seconds
        # entries are in the order of their end: drop what is over, and the oldest when there are too many
        for old, end in list(self._good.items())[:8]:
            if end < now or len(self._good) > _REMEMBERED:
                del self._good[old]


class Failures:
    """Counts failed logins of a node; `now` is handed in, in monotonic seconds."""

    def __init__(self, most: int, board: Board | None = None) -> None:
        #: different wrong passwords per client or known login in 15 minutes
        self.most = most
        #: where the node's other processes tell theirs
        self._board = board or Board()
        #: (client) or (client, login) -> wrong login and password -> (login, when)
        self._wrong: dict[tuple[bytes, ...], dict[bytes, tuple[bytes, float]]] = {}
        #: login -> wrong passwords from addresses that do not know it -> when
        self._guessed: dict[bytes, dict[bytes, float]] = {}
        #: (client, login) -> when it last worked
        self._known: dict[tuple[bytes, bytes], float] = {}
        #: login -> when it was last said that it is being guessed at
        self._alarms: dict[bytes, float] = {}

    def blocked(self, client: str, login: str, now: float) -> bool:
        """Tell whether `client` has failed too often to try `login` now."""
        self._catch_up()
        wrong = self._wrong.get(self._bucket(self._name(client), self._name(login), now))
        if wrong is None:
            return False
        return sum(when > now - _WINDOW_SECONDS for _, when in wrong.values()) >= self.most

    def delay(self, client: str, login: str, now: float) -> float:
        """Return the seconds that a try costs: a login guessed at from many places is slow for strangers."""
        self._catch_up()
        name = self._name(login)
        if name not in self._guessed or self._is_known(self._name(client), name, now):
            return 0.0
        return min(_SLOW_DOWN_SECONDS, max(0, self._guesses(name, now) - self.most) * 0.1)

    def failed(self, client: str, login: str, password: str, now: float) -> bool:
        """Count a wrong password, the same one again not; True when `login` is now being guessed at.

        That is when strangers have tried more passwords than one client may; once in 15 minutes.
        """
        self._catch_up()
        name = self._name(login)
        print_ = self._board.hashed(login, password)
        self._board.tell(News(False, self._name(client), name, print_, now))  # noqa: FBT003 - a record
        before = self._alarms.get(name)
        self._catch_up()
        return self._alarms.get(name) != before

    def succeeded(self, client: str, login: str, now: float) -> None:
        """Remember that `login` works from `client`, and forget what its owner mistyped before."""
        self._catch_up()
        where, name = self._name(client), self._name(login)
        fresh = self._known.get((where, name), -_KNOWN_SECONDS) > now - _NEWS_SECONDS
        if fresh and (where, name) not in self._wrong and (where,) not in self._wrong:
            return
        self._board.tell(News(True, where, name, name, now))  # noqa: FBT003 - a record
        self._catch_up()

    def _catch_up(self) -> None:
        for news in self._board.hear():
            if news.worked:
                self._note_success(news)
            else:
                self._note_failure(news)

    def _note_failure(self, news: News) -> None:
        wrong = self._wrong.setdefault(self._bucket(news.client, news.login, news.at), {})
        wrong[news.password] = (news.login, news.at)
        _trim(wrong, self.most * 2)
        _trim(self._wrong, _COUNTED)
        if self._is_known(news.client, news.login, news.at):
            return
        guesses = self._guessed.setdefault(news.login, {})
        guesses[news.password] = news.at
        _trim(guesses, self.most * 8)
        _trim(self._guessed, _COUNTED)
        quiet = self._alarms.get(news.login, -_WINDOW_SECONDS) <= news.at - _WINDOW_SECONDS
        if quiet and self._guesses(news.login, news.at) > self.most:
            self._alarms.pop(news.login, None)
            self._alarms[news.login] = news.at
            _trim(self._alarms, _COUNTED)

    def _note_success(self, news: News) -> None:
        self._known.pop((news.client, news.login), None)
        self._known[news.client, news.login] = news.at
        _trim(self._known, _REMEMBERED)
        self._wrong.pop((news.client, news.login), None)
        wrong = self._wrong.pop((news.client,), {})
        if kept := {key: value for key, value in wrong.items() if value[0] != news.login}:
            self._wrong[news.client,] = kept

    def _guesses(self, login: bytes, now: float) -> int:
        return sum(when > now - _WINDOW_SECONDS for when in self._guessed.get(login, {}).values())

    def _bucket(self, client: bytes, login: bytes, now: float) -> tuple[bytes, ...]:
        return (client, login) if self._is_known(client, login, now) else (client,)

    def _is_known(self, client: bytes, login: bytes, now: float) -> bool:
        return self._known.get((client, login), -_KNOWN_SECONDS) > now - _KNOWN_SECONDS

    def _name(self, text: str) -> bytes:
        return self._board.hashed(text)


def _trim(table: dict[Any, Any], most: int) -> None:
    """Drop the oldest entries above `most`."""
    while len(table) > most:
        del table[next(iter(table))]
