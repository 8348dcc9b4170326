"""Rate buckets that all processes of a node share: one file of fixed size, mapped into each of them.

A bucket is one moment (`policies.rates`), and one that is paid back is the same as none: so a slot whose
moment has passed is free, nothing has to be deleted, and a restart forgets nothing that counts. A bucket
may lie in one of 16 neighbouring slots; where all of them are in use, that nearest to its end makes room.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from policies import rates
from policies.decision import Decision
from policies.rates import Bucket, Take

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from policies.rates import Limit

#: Slots of 16 bytes (key, moment), in groups; a power of two.
SLOTS = 1 << 18
_GROUP = 16
_SLOT = struct.Struct("=QQ")
_KEY = struct.Struct("=Q")
_WINDOW = struct.Struct(f"={2 * _GROUP}Q")
_TAKEN = Decision(Take.TAKEN, "")
_BYTES = SLOTS * _SLOT.size


@dataclass(frozen=True, slots=True)
class Want:
    """One unit of one limit, for whom it counts."""

    key: int
    limit: Limit


def key_of(*names: object) -> int:
    """Return the key of a bucket; never 0, which marks an empty slot."""
    digest = blake2b("\0".join(map(str, names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Buckets:
    """One for a process; those opened on the same file are one. Costs some 5 µs a limit."""

    def __init__(self, path: Path | None = None, *, alone: bool = False) -> None:
        """Map `path`, or memory of this process alone where there is none, or where it cannot be had.

        `alone`: no other process has it open, so there is nothing to lock.
        """
        self._file = -1
        self._alone = alone
        #: False: the limits of this process are its own
        self.shared = False
        try:
            if path is not None:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                os.posix_fallocate(self._file, 0, _BYTES)  # a hole on a full disk would kill us later
                self._map = mmap.mmap(self._file, _BYTES)
                self.shared = True
                return
        except OSError:
            self.close()
        self._map = mmap.mmap(-1, _BYTES)

    def close(self) -> None:
        """Let go of the file; harmless twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def take(
        self, wants: Sequence[Want], now: datetime, cost: int = 1
    ) -> tuple[Decision[Take], Want | None, list[float]]:
        """Take `cost` from all buckets or none; the decision, whose it is, and how full each is (0..1)."""
        now_ns, after = rates.nanoseconds(now), list[int]()
        self._lock()
        try:
            places = [self._find(one.key) for one in wants]
            after = [
                rates.after(at, cost, one.limit, now_ns) for one, (_, at) in zip(wants, places, strict=True)
            ]
            if 0 not in after:
                for one, (place, _), moment in zip(wants, places, after, strict=True):
                    _SLOT.pack_into(self._map, place, one.key, moment)
        finally:
            self._unlock()
        if 0 not in after:
            paid_back = zip(wants, after, strict=True)
            return _TAKEN, None, [_used(one.limit, moment - now_ns) for one, moment in paid_back]
        return self._refused(wants, [at for _, at in places], now, cost)

    def measure(self, want: Want, now: datetime) -> None:
        """Take one unit if there is one: for what is only looked at (`used`)."""
        now_ns = rates.nanoseconds(now)
        self._lock()
        try:
            place, at = self._find(want.key)
            if moment := rates.after(at, 1, want.limit, now_ns):
                _SLOT.pack_into(self._map, place, want.key, moment)
        finally:
            self._unlock()

    @staticmethod
    def _refused(
        wants: Sequence[Want], moments: list[int], now: datetime, cost: int
    ) -> tuple[Decision[Take], Want | None, list[float]]:
        """Say which bucket has too little, and how full each is."""
        limits = [one.limit for one in wants]
        buckets = [_within(at, limit, now) for at, limit in zip(moments, limits, strict=True)]
        _, decision = rates.take_all(buckets, cost, limits, now)
        tried = zip(wants, buckets, strict=True)
        blamed = next(one for one, bucket in tried if rates.take(bucket, cost, one.limit, now)[1] == decision)
        used = [rates.used(bucket, limit, now) for bucket, limit in zip(buckets, limits, strict=True)]
        return decision, blamed, used

    def give_back(self, wants: Sequence[Want], now: datetime, cost: int = 1) -> None:
        """Refund what was taken and not used."""
        self._lock()
        try:
            for one in wants:
                place, at = self._find(one.key)
                if at:
                    bucket = rates.refund(_within(at, one.limit, now), cost, one.limit)
                    _SLOT.pack_into(self._map, place, one.key, bucket.paid_back_at_ns)
        finally:
            self._unlock()

    def used(self, want: Want, now: datetime) -> float:
        """Return how full a bucket is, from 0 to 1."""
        _, at = self._find(want.key)
        return rates.used(_within(at, want.limit, now), want.limit, now)

    def _find(self, key: int) -> tuple[int, int]:
        """Return the place of a bucket, or the best free one, and its moment (0: it is full)."""
        group = key % (SLOTS // _GROUP) * _WINDOW.size
        place = self._map.find(_KEY.pack(key), group, group + _WINDOW.size)
        if place >= 0 and (place - group) % _SLOT.size == 0:
            return place, _KEY.unpack_from(self._map, place + _KEY.size)[0]
        values = _WINDOW.unpack_from(self._map, group)
        for number in range(0, 2 * _GROUP, 2):
            if values[number] == key:
                return group + number * 8, values[number + 1]
        oldest = min(range(1, 2 * _GROUP, 2), key=values.__getitem__)
        return group + (oldest - 1) * 8, 0

    def _lock(self) -> None:
        if self._file >= 0 and not self._alone:
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def _unlock(self) -> None:
        if self._file >= 0 and not self._alone:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _used(limit: Limit, debt_ns: int) -> float:
    return min(debt_ns / (limit.amount * limit.interval_ns), 1.0)


def _within(at: int, limit: Limit, now: datetime) -> Bucket:
    """Return the bucket of a stored moment; no debt is larger than the limit, whatever the clock did."""
    return rates.at_most_empty(Bucket(at), limit, now)
