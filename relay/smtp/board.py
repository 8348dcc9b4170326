"""What the processes of one node tell each other about clients: shared memory, no messages, no waiting.

Two parts. *Counts*: a row per client or account with one number per process, so that what a process counted
before it died is taken back as its successor starts; and the moment at which the next connection is on time.
*News*: a ring of login failures and successes, which every process applies in order, also one that has just
started.

Names are kept as keyed hashes. Writers take a lock of the kernel's (fcntl), which dies with its holder;
readers of counts take none, for a number that is one behind costs one connection more.

    board = Board()                                           # one process: memory of its own
    handle = os.memfd_create("board")                         # several: the supervisor makes it,
    board = Board(handle, processes=3, number=2)              # each process takes it
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Clients and accounts at once; what finds no row is counted nowhere, for a limit must not stop mail.
ROWS = 1 << 16
_PROBES = 64
#: Failures and successes that are remembered for 15 minutes at most.
NEWS = 1 << 14
_HEADER = struct.Struct("=16sQ")
_HEADER_OCTETS = 64
_KEY, _DUE, _COUNT = struct.Struct("=8s"), struct.Struct("=d"), struct.Struct("=H")
_NEWS = struct.Struct("=B8s8s8sd")
_ROW_START = _KEY.size + _DUE.size
_NOBODY = bytes(_KEY.size)
#: a count ends here, far above any limit
_MOST = 0xFFFF


@dataclass(frozen=True, slots=True)
class News:
    """One login that failed or worked; `client`, `login` and `password` are keyed hashes, `at` monotonic."""

    worked: bool
    client: bytes
    login: bytes
    password: bytes
    at: float


class Board:
    """The shared memory of one node; one for a process. Times are of the system's monotonic clock."""

    def __init__(self, handle: int | None = None, *, processes: int = 1, number: int = 0) -> None:
        """Take the memory behind `handle` (None: memory of one's own) as process `number` of `processes`."""
        self._handle = handle
        self._processes, self._number = processes, number
        self._stride = (_ROW_START + _COUNT.size * processes + 7) & ~7
        self._news_start = _HEADER_OCTETS + ROWS * self._stride
        octets = self._news_start + NEWS * _NEWS.size
        self._read_until = 0
        with self._locked():
            if handle is not None and os.fstat(handle).st_size != octets:
                os.ftruncate(handle, octets)
            self._memory = mmap.mmap(-1 if handle is None else handle, octets)
            self._key, told = _HEADER.unpack_from(self._memory)
            if self._key == bytes(16):
                self._key = os.urandom(16)
                _HEADER.pack_into(self._memory, 0, self._key, told)
            else:
                self._forget_predecessor()

    def _forget_predecessor(self) -> None:
        """Take back what a process of the same number counted before it died."""
        mine = _ROW_START + _COUNT.size * self._number
        for row in range(_HEADER_OCTETS, self._news_start, self._stride):
            if self._memory[row + mine] or self._memory[row + mine + 1]:
                _COUNT.pack_into(self._memory, row + mine, 0)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._handle is None:
            yield
            return
        fcntl.lockf(self._handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._handle, fcntl.LOCK_UN)

    def hashed(self, *texts: str) -> bytes:
        """Return a name as this node's processes know it."""
        data = "\0".join(texts).encode("utf-8", "surrogateescape")
        return blake2b(data, key=self._key, digest_size=_KEY.size).digest()

    # counts

    def count(self, name: bytes) -> int:
        """Return how often `name` is there, in all processes."""
        row = self._find(name)
        return self._sum(row) if row is not None else 0

    def more(self, name: bytes, now: float) -> None:
        """Count `name` once more."""
        with self._locked():
            row = self._find(name)
            if row is None:
                row = self._make(name, now)
            if row is not None:
                self._add(row, 1)

    def less(self, name: bytes) -> None:
        """Count `name` once less."""
        row = self._find(name)
        if row is not None:
            self._add(row, -1)

    def on_time(self, name: bytes, now: float, interval: float, window: float) -> bool:
        """Tell whether `name` may come again (GCRA: every `interval` seconds, at most `window` ahead)."""
        with self._locked():
            row = self._find(name)
            if row is None:
                row = self._make(name, now)
            if row is None:
                return True
            (before,) = _DUE.unpack_from(self._memory, row + _KEY.size)
            due = max(before, now) + interval
            if due - now > window + interval / 2:
                return False
            _DUE.pack_into(self._memory, row + _KEY.size, due)
        return True

    def pay_back(self, name: bytes, seconds: float) -> None:
        """Take back what the last `on_time` cost."""
        with self._locked():
            row = self._find(name)
            if row is not None:
                (due,) = _DUE.unpack_from(self._memory, row + _KEY.size)
                _DUE.pack_into(self._memory, row + _KEY.size, due - seconds)

    def _add(self, row: int, step: int) -> None:
        place = row + _ROW_START + _COUNT.size * self._number  # nobody else writes here
        (count,) = _COUNT.unpack_from(self._memory, place)
        _COUNT.pack_into(self._memory, place, min(_MOST, max(0, count + step)))

    def _sum(self, row: int) -> int:
        return sum(struct.unpack_from(f"={self._processes}H", self._memory, row + _ROW_START))

    def _places(self, name: bytes) -> Iterator[int]:
        first = int.from_bytes(name, "little")
        for probe in range(_PROBES):
            yield _HEADER_OCTETS + (first + probe & ROWS - 1) * self._stride

    def _find(self, name: bytes) -> int | None:
        # nearly everybody is where he is looked for first
        first = _HEADER_OCTETS + (int.from_bytes(name, "little") & ROWS - 1) * self._stride
        if self._memory[first : first + _KEY.size] == name:
            return first
        for row in self._places(name):
            known = self._memory[row : row + _KEY.size]
            if known == name:
                return row
            if known == _NOBODY:
                return None
        return None

    def _make(self, name: bytes, now: float) -> int | None:
        """Return the row of `name`, or a new one where nobody is, or who is there has had his time."""
        free: int | None = None
        for row in self._places(name):
            known = self._memory[row : row + _KEY.size]
            if known == name:
                return row
            if known == _NOBODY or (free is None and self._is_over(row, now)):
                free = row if free is None else free
                if known == _NOBODY:
                    break
        if free is not None:
            _KEY.pack_into(self._memory, free, name)
            _DUE.pack_into(self._memory, free + _KEY.size, 0.0)
        return free

    def _is_over(self, row: int, now: float) -> bool:
        (due,) = _DUE.unpack_from(self._memory, row + _KEY.size)
        return bool(due <= now) and not self._sum(row)

    # news

    def tell(self, news: News) -> None:
        """Let all processes know."""
        with self._locked():
            key, told = _HEADER.unpack_from(self._memory)
            place = self._news_start + told % NEWS * _NEWS.size
            _NEWS.pack_into(self._memory, place, news.worked, news.client, news.login, news.password, news.at)
            _HEADER.pack_into(self._memory, 0, key, told + 1)

    def hear(self) -> list[News]:
        """Return what was told since the last time, oldest first; what is too old is gone."""
        _, told = _HEADER.unpack_from(self._memory)
        if told == self._read_until:
            return []
        with self._locked():
            _, told = _HEADER.unpack_from(self._memory)
            numbers = range(max(self._read_until, told - NEWS), told)
            rows = [
                _NEWS.unpack_from(self._memory, self._news_start + n % NEWS * _NEWS.size) for n in numbers
            ]
        self._read_until = told
        return [News(bool(row[0]), *row[1:]) for row in rows]
